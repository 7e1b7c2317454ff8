"""A repository under another name: rows change, no bytes move, and what it holds stays as it is.

Everything that is in it hangs on its number. What names it by its text does not follow: grants and
access tokens for a pattern, webhooks, uploads that are under way. Its old name is free at once.
"""

from typing import Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from treescale.errors import NameUnknown, QuotaExceeded, UserExists
from treescale.metadata.database import Database
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import WHY, check_writable, named, refuse
from treescale.metadata.limits.arriving import settle_whole
from treescale.metadata.limits.settling import explained
from treescale.metadata.repositories import make_namespace, namespace_id, note_oldest
from treescale.metadata.rules.immutable import check_repository_may_go
from treescale.metadata.schema import repositories
from treescale.oci.names import namespace_of

_MOVE: Final = (
    update(repositories)
    .where(repositories.c.name == bindparam("old_name"))
    .values(
        name=bindparam("new_name"),
        namespace=bindparam("namespace_name"),
        namespace_id=namespace_id(),
        # Events of what had the name before it are not shown to who may pull this one.
        created=DatabaseNow(),
    )
)
_THERE: Final = select(repositories.c.repository_id, repositories.c.created).where(
    repositories.c.name == bindparam("named")
)


class Moves:
    """Gives repositories other names."""

    def __init__(self, database: Database) -> None:
        self._connections = database.connections
        self._repositories = database.repositories

    async def move(self, old: str, new: str, *, actor: str, force: bool = False) -> None:
        """Have the repository `old` be called `new`, also in another namespace.

        Raises NameUnknown, UserExists when there is one called `new`, ReadOnly; QuotaExceeded and
        OverLimit when it does not fit into another namespace, deleted parts counted. Without
        `force` TagImmutable, as for a deletion: other images could get its names.
        """
        to = {"old_name": old, "new_name": new, "namespace_name": namespace_of(new)}

        def work(connection: Connection) -> None:
            check_writable(connection, old, whole=True)
            there = connection.execute(_THERE, {"named": old}).one_or_none()
            if there is None:
                raise NameUnknown(f"no repository {old}")
            if not force:
                check_repository_may_go(connection, there.repository_id, old, "moved")
            refuse(new, connection.execute(WHY, named(new)).scalar_one())
            if connection.execute(_THERE, {"named": new}).first() is not None:
                raise _taken(new)
            make_namespace(connection, namespace_of(new))
            note_oldest(connection, there.created)
            try:
                connection.execute(_MOVE, to)
            except IntegrityError as error:  # a push came first
                raise _taken(new) from error
            if namespace_of(old) != namespace_of(new):
                settle_whole(connection, there.repository_id, actor=actor)
            record(connection, Event(Kind.REPOSITORY_MOVED, actor, old, payload={"to": new}))
            record(connection, Event(Kind.REPOSITORY_MOVED, actor, new, payload={"from": old}))

        try:
            await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None
        for name in (old, new):
            self._repositories.forget(name)


def _taken(name: str) -> UserExists:
    return UserExists(f"there is a repository {name} already", known=name)
