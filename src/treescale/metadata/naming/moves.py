"""A repository under another name: rows change, no bytes move, and what it holds stays as it is.

Everything that is in it hangs on its number. What names it by its text does not follow: grants and
access tokens for a pattern, webhooks, uploads that are under way. Its old name is free at once.
"""

import itertools
from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from treescale.errors import NameUnknown, QuotaExceeded, UserExists
from treescale.metadata.accounts import remove_account
from treescale.metadata.database import Database
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Result, Work
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import WHY, check_writable, named, refuse
from treescale.metadata.limits.arriving import settle_whole
from treescale.metadata.limits.settling import explained
from treescale.metadata.organisations import hold_known
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
_OF_NAMESPACE: Final = select(repositories.c.name).where(
    repositories.c.namespace == bindparam("of"), repositories.c.deleted.is_(None)
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
        await self._write(
            lambda connection: _move(connection, old, new, actor=actor, force=force), actor
        )
        for name in (old, new):
            self._repositories.forget(name)

    async def give_and_remove(
        self, user: str, names: Sequence[str], heir: str, *, actor: str
    ) -> bool:
        """Have all repositories of a user be those of the namespace `heir`, and the account gone.

        All of it happens, or nothing; `False` is nothing, since the user has others than `names`
        by now. What is pushed while it happens may stay, as after it. Raises what a move and
        `Users.remove` raise, and NamespaceUnknown when `heir` is nobody's by now.
        """
        moves = [(name, f"{heir}/{name.partition('/')[2]}") for name in names]

        def work(connection: Connection) -> bool:
            hold_known(connection, heir)
            found = connection.execute(_OF_NAMESPACE, {"of": user}).scalars()
            if set(found) != set(names):
                return False
            for old, new in moves:
                _move(connection, old, new, actor=actor, force=False)
            remove_account(connection, user, actor)
            return True

        done = await self._write(work, actor)
        for name in itertools.chain.from_iterable(moves):
            self._repositories.forget(name)
        return done

    async def _write(self, work: Work[Result], actor: str) -> Result:
        try:
            return await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None


def _move(connection: Connection, old: str, new: str, *, actor: str, force: bool) -> None:
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
    to = {"old_name": old, "new_name": new, "namespace_name": namespace_of(new)}
    try:
        connection.execute(_MOVE, to)
    except IntegrityError as error:  # a push came first
        raise _taken(new) from error
    if namespace_of(old) != namespace_of(new):
        settle_whole(connection, there.repository_id, actor=actor)
    record(connection, Event(Kind.REPOSITORY_MOVED, actor, old, payload={"to": new}))
    record(connection, Event(Kind.REPOSITORY_MOVED, actor, new, payload={"from": old}))


def _taken(name: str) -> UserExists:
    return UserExists(f"there is a repository {name} already", known=name)
