"""Whose a namespace is, held for a transaction that hangs something on its name."""

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from treescale.errors import NamespaceUnknown
from treescale.metadata.schema import namespaces, users

ORGANISATION: Final = "organisation"
HOLD_USER: Final = (
    select(users.c.name).where(users.c.name == bindparam("this")).with_for_update(key_share=True)
)
HOLD_ORGANISATION: Final = (
    select(namespaces.c.namespace_id)
    .where(namespaces.c.name == bindparam("this"), namespaces.c.kind == ORGANISATION)
    .with_for_update()
)


def hold_owner(connection: Connection, name: str) -> None:
    """Hold the user or the organisation of a name: neither is removed before this has ended.

    Raises NamespaceUnknown when the name is nobody's.
    """
    for held in (HOLD_USER, HOLD_ORGANISATION):
        if connection.execute(held, {"this": name}).first() is not None:
            return
    raise NamespaceUnknown(f"the namespace {name} is nobody's: there is no such user")
