"""Namespaces as rows: whose a name is, and what hangs on it.

A name is a user's or an organisation's. Who gives one away, or takes it back, holds its row first:
so no two get it. What hangs on a namespace hangs on its number, which is given out once; whoever
gets a name that has become free begins with nothing, and what is left of the one before stays with
a row that has another name.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, bindparam, cast, delete, exists, func, literal, select, update
from sqlalchemy.engine import Connection

from treescale.errors import (
    CredentialsInvalid,
    LastAdministrator,
    LastOwner,
    NamespaceUnknown,
    UserExists,
)
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import changed
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.records import NO_PASSWORD
from treescale.metadata.schema import (
    event_groups,
    generations,
    hooks,
    members,
    namespace_descriptions,
    namespaces,
    repositories,
    robots,
    rules,
    users,
)

ORGANISATION: Final = "organisation"
USER: Final = "user"
FORMER: Final = "former"
OWNER: Final = "owner"
"""The role without which no organisation is."""
PRIVATE: Final = "private"
INTERNAL: Final = "internal"
PUBLIC: Final = "public"
EVERY_REPOSITORY: Final = "*"
FORMER_MARK: Final = "@"
"""In the name of a row whose name is free again: nobody can ask for it."""

_THIS: Final = namespaces.c.namespace_id == bindparam("row_id")
HOLD: Final = (
    select(namespaces.c.namespace_id, namespaces.c.kind)
    .where(namespaces.c.name == bindparam("this"))
    .with_for_update()
)
HOLD_OWNED: Final = (
    select(namespaces.c.namespace_id, namespaces.c.name)
    .join(members, members.c.namespace_id == namespaces.c.namespace_id)
    .where(
        members.c.user_name == bindparam("user"),
        members.c.role == OWNER,
        namespaces.c.kind == ORGANISATION,
    )
    .order_by(namespaces.c.namespace_id)
    .with_for_update(of=namespaces)
)
_ORGANISATION_ID: Final = select(namespaces.c.namespace_id).where(
    namespaces.c.name == bindparam("this"), namespaces.c.kind == ORGANISATION
)
_MAKE: Final = insert_or_ignore(namespaces)
_BEGIN: Final = (
    update(namespaces)
    .where(_THIS)
    .values(kind=bindparam("new_kind"), created=DatabaseNow(), visibility=PRIVATE)
)
IS_USER: Final = select(users.c.name).where(users.c.name == bindparam("this"))
_LOCAL_ADMINISTRATORS: Final = (
    select(users.c.name)
    .where(users.c.admin, users.c.suspended.is_(None), users.c.password_hash != NO_PASSWORD)
    .order_by(users.c.name)
)
HOLD_ADMINISTRATORS: Final = _LOCAL_ADMINISTRATORS.with_for_update(key_share=True)
_HAS_ADMINISTRATOR: Final = select(func.count().label("count")).select_from(
    _LOCAL_ADMINISTRATORS.limit(1).subquery()
)
_GENERATION_OF: Final = select(generations.c.generation).where(
    generations.c.subject == bindparam("subject")
)
_HAS_OWNER: Final = select(
    exists().where(
        members.c.namespace_id == bindparam("row_id"),
        members.c.role == OWNER,
        members.c.repository == EVERY_REPOSITORY,
    )
)
REPOSITORIES: Final = (
    select(repositories.c.name)
    .where(repositories.c.namespace == bindparam("this"))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
_OWNED: Final = namespaces.alias("owned")
IS_FREED: Final = (
    select(namespaces.c.namespace_id)
    .where(
        namespaces.c.name > bindparam("begin"),
        namespaces.c.name < bindparam("end"),
        ~exists().where(users.c.name == bindparam("this")),
        ~exists().where(_OWNED.c.name == bindparam("this"), _OWNED.c.kind == ORGANISATION),
    )
    .limit(1)
)
_MEMBERS_OF: Final = (
    select(members.c.user_name).distinct().where(members.c.namespace_id == bindparam("row_id"))
)
_ROBOTS_OF: Final = select(robots.c.robot_id).where(robots.c.namespace_id == bindparam("row_id"))
_ROBOTS: Final = delete(robots).where(robots.c.namespace_id == bindparam("row_id"))
_STRIP: Final = delete(members).where(members.c.namespace_id == bindparam("row_id"))
_UNSET: Final = update(namespaces).where(_THIS).values(visibility=PRIVATE)
_RULES: Final = delete(rules).where(rules.c.namespace_id == bindparam("row_id"))
_DESCRIPTION: Final = delete(namespace_descriptions).where(
    namespace_descriptions.c.namespace_id == bindparam("row_id")
)
_OWN: Final = (_STRIP, _ROBOTS, _RULES, _DESCRIPTION)
"""What takes away what nobody who gets the name must inherit."""
_GROUPS: Final = delete(event_groups).where(event_groups.c.namespace_id == bindparam("row_id"))
_HOOKS: Final = delete(hooks).where(hooks.c.namespace == bindparam("this"))
_FREE: Final = (
    update(namespaces)
    .where(_THIS)
    .values(
        name=namespaces.c.name
        + literal(FORMER_MARK, Text())
        + cast(namespaces.c.namespace_id, Text()),
        kind=FORMER,
    )
)


@dataclass(frozen=True, slots=True)
class HeldNamespace:
    """A namespace that stays as it is until the transaction ends."""

    row_id: int
    kind: str

    @property
    def is_organisation(self) -> bool:
        """Return whether it is an organisation's."""
        return self.kind == ORGANISATION


def hold_namespace(connection: Connection, name: str) -> HeldNamespace | None:
    """Hold the namespace of a name; None when the name has no row yet."""
    row = connection.execute(HOLD, {"this": name}).one_or_none()
    return None if row is None else HeldNamespace(int(row.namespace_id), row.kind)


def organisation_id(connection: Connection, name: str) -> int | None:
    """Return the number of an organisation; None when none has the name."""
    row_id: int | None = connection.execute(_ORGANISATION_ID, {"this": name}).scalar_one_or_none()
    return row_id


def make_and_hold(connection: Connection, name: str) -> HeldNamespace:
    """Hold the namespace of a name, which has a row from now on: a user's, if it had none."""
    connection.execute(_MAKE.on(connection), {"name": name})
    held = hold_namespace(connection, name)
    assert held is not None, "rows of namespaces do not go away"
    return held


def unknown_namespace(name: str, *, nearest: str = "") -> NamespaceUnknown:
    """Return the error for a namespace that is nobody's: it says how it becomes somebody's.

    `nearest` is what else may have been meant, as a sentence.
    """
    return NamespaceUnknown(
        f"no organisation and no user {name}: {nearest}`treescale org add {name} --owner USER` "
        "makes one"
    )


def is_user(connection: Connection, name: str) -> bool:
    """Return whether there is a user of that name."""
    return connection.execute(IS_USER, {"this": name}).first() is not None


def begin_namespace(connection: Connection, name: str, *, kind: str, adopt: bool) -> int:
    """Give the name to somebody new; return the namespace's number. Nothing hangs on it.

    With `adopt` repositories that are left of an earlier one go with it; without raises UserExists,
    as it does when the name is somebody's.
    """
    is_new = changed(connection, _MAKE.on(connection), {"name": name}) == 1
    held = make_and_hold(connection, name)
    if is_user(connection, name):
        raise UserExists(f"user {name} exists already", known=name)
    if held.is_organisation:
        raise UserExists(f"the organisation {name} exists already", known=name)
    left = connection.execute(REPOSITORIES, {"this": name, "limit": 1}).first()
    if left is not None and not adopt:
        raise UserExists(
            f"there are repositories of an earlier user {name}, such as {left.name}: "
            "delete them first",
            known=left.name,
        )
    if left is not None:
        strip(connection, held.row_id)
    elif not is_new:
        free_namespace(connection, held.row_id, name)
        held = make_and_hold(connection, name)
    connection.execute(_BEGIN, {"row_id": held.row_id, "new_kind": kind})
    return held.row_id


def members_of(connection: Connection, row_id: int) -> list[str]:
    """Return who was granted anything in a namespace."""
    return list(connection.execute(_MEMBERS_OF, {"row_id": row_id}).scalars())


def robots_of(connection: Connection, row_id: int) -> list[str]:
    """Return the ids of a namespace's robots."""
    return list(connection.execute(_ROBOTS_OF, {"row_id": row_id}).scalars())


def strip(connection: Connection, row_id: int) -> None:
    """Take away what was said and granted there; what comes into being there is private."""
    for statement in _OWN:
        connection.execute(statement, {"row_id": row_id})
    connection.execute(_UNSET, {"row_id": row_id})


def free_namespace(connection: Connection, row_id: int, name: str) -> None:
    """Have the name be free: what was said and granted there ends, the row is set aside."""
    for statement in _OWN:
        connection.execute(statement, {"row_id": row_id})
    connection.execute(_GROUPS, {"row_id": row_id})
    connection.execute(_HOOKS, {"this": name})
    connection.execute(_FREE, {"row_id": row_id})


def check_not_freed(connection: Connection, name: str) -> None:
    """Raise NamespaceUnknown for a name that somebody had, and nobody has now.

    Members of an organisation that was removed may have bearer tokens for it for some seconds.
    """
    begin, end = f"{name}{FORMER_MARK}", f"{name}{chr(ord(FORMER_MARK) + 1)}"
    these = {"this": name, "begin": begin, "end": end}
    if connection.execute(IS_FREED, these).first() is not None:
        raise unknown_namespace(name)


def check_owner_left(connection: Connection, row_id: int, name: str) -> None:
    """Raise LastOwner when nobody owns the organisation any more; its row is held."""
    if not connection.execute(_HAS_OWNER, {"row_id": row_id}).scalar_one():
        raise LastOwner(
            f"the organisation {name} would have no owner: make somebody else one first "
            f"(`treescale org grant {name} USER owner`), or remove the organisation"
        )


def hold_administrators(connection: Connection) -> bool:
    """Hold those who log in with a password as they are; return whether there is one."""
    return bool(connection.execute(HOLD_ADMINISTRATORS).all())


def check_administrator_left(connection: Connection, *, was_there: bool) -> None:
    """Raise LastAdministrator when nobody is left of those who were held.

    A provider of sign-on may be down, or gone: so only who has a password counts.
    """
    if was_there and not connection.execute(_HAS_ADMINISTRATOR).scalar_one():
        raise LastAdministrator(
            "no administrator would be left who can log in with a password: make somebody else "
            "one first (`treescale user admin NAME on`)"
        )


def check_unchanged(connection: Connection, name: str, generation: int) -> None:
    """Raise CredentialsInvalid when the account has changed since that generation; it is held."""
    subject = {"subject": f"user:{name}"}
    if (connection.execute(_GENERATION_OF, subject).scalar_one_or_none() or 0) > generation:
        raise CredentialsInvalid("the account has changed meanwhile: log in again")
