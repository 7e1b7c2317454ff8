"""What an administrator does to an account beside making and removing it.

An account that is suspended keeps all it has and may do nothing: its sessions end here, its bearer
tokens and those of the robots of its own namespace are void, and whoever reads one of its
credentials, or of theirs, reads that it is suspended. There is
always an administrator who can log in with a password: whoever takes one away holds the rows of all
of them first, and looks in a second statement.
"""

from typing import Final

from sqlalchemy import Executable, bindparam, select, update
from sqlalchemy.engine import Connection

from treescale.metadata.accounts import END_SESSIONS, of_user, remove_links, unknown_user, void
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recording import Kind, record
from treescale.metadata.namespaces import (
    check_administrator_left,
    hold_administrators,
    hold_namespace,
    robots_of,
)
from treescale.metadata.records import NO_PASSWORD
from treescale.metadata.schema import users

RULE: Final = "rule:"
"""How the actor begins when a rule does it."""
_THIS: Final = users.c.name == bindparam("this")
_IS_THERE: Final = select(users.c.name).where(_THIS)
_SUSPEND: Final = (
    update(users)
    .where(_THIS, users.c.suspended.is_(None))
    .values(suspended=DatabaseNow(), suspended_by=bindparam("by"))
)
_SUSPEND_TOO: Final = (
    update(users)
    .where(_THIS, users.c.suspended.is_not(None), users.c.suspended_by.like(f"{RULE}%"))
    .values(suspended_by=bindparam("by"))
)
"""What a rule has suspended, and a person now too, no rule resumes."""
_RESUME: Final = (
    update(users)
    .where(_THIS, users.c.suspended.is_not(None))
    .values(suspended=None, suspended_by=None)
)
_RESUME_BY: Final = _RESUME.where(users.c.suspended_by == bindparam("by"))
_SET_ADMIN: Final = (
    update(users).where(_THIS, users.c.admin != bindparam("to")).values(admin=bindparam("to"))
)
_NO_PASSWORD: Final = (
    update(users)
    .where(_THIS, users.c.password_hash != NO_PASSWORD)
    .values(password_hash=NO_PASSWORD)
)


class AccountStates:
    """Changes of accounts. Each raises UserUnknown; what is so already is left as it is."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def suspend(self, name: str, *, actor: str) -> None:
        """Have nothing of the account count; raises LastAdministrator."""
        await self._connections.write(lambda connection: suspend(connection, name, actor))

    async def resume(self, name: str, *, actor: str) -> None:
        """Have it count again: its password and access tokens are as they were."""
        await self._connections.write(lambda connection: resume(connection, name, actor))

    async def set_admin(self, name: str, *, admin: bool, actor: str) -> None:
        """Have it be an administrator's, or not; raises LastAdministrator."""

        def work(connection: Connection) -> None:
            was_there = hold_administrators(connection)
            if not _changed(connection, _SET_ADMIN, name, {"to": admin}):
                return
            check_administrator_left(connection, was_there=was_there)
            if not admin:
                remove_links(connection, name)
            void(connection, f"user:{name}")
            record(connection, of_user(Kind.USER_ADMIN, actor, name, {"admin": admin}))

        await self._connections.write(work)

    async def remove_password(self, name: str, *, actor: str) -> None:
        """Have no password log in to it; its sessions end. Raises LastAdministrator."""

        def work(connection: Connection) -> None:
            was_there = hold_administrators(connection)
            if not _changed(connection, _NO_PASSWORD, name, {}):
                return
            check_administrator_left(connection, was_there=was_there)
            connection.execute(END_SESSIONS, {"this": name})
            void(connection, f"user:{name}")
            record(connection, of_user(Kind.USER_PASSWORD, actor, name, {"password": False}))

        await self._connections.write(work)


def suspend(connection: Connection, name: str, actor: str) -> None:
    """Suspend an account, in the caller's transaction; see `AccountStates.suspend`."""
    own = hold_namespace(connection, name)
    was_there = hold_administrators(connection)
    if not _changed(connection, _SUSPEND, name, {"by": actor}):
        is_new = not actor.startswith(RULE) and changed(
            connection, _SUSPEND_TOO, {"this": name, "by": actor}
        )
        if is_new:
            record(connection, of_user(Kind.USER_SUSPENDED, actor, name))
        return
    check_administrator_left(connection, was_there=was_there)
    connection.execute(END_SESSIONS, {"this": name})
    remove_links(connection, name)
    void(connection, f"user:{name}")
    for robot in [] if own is None else robots_of(connection, own.row_id):
        void(connection, f"token:{robot}")
    record(connection, of_user(Kind.USER_SUSPENDED, actor, name))


def resume(connection: Connection, name: str, actor: str, *, only_by: str | None = None) -> None:
    """Resume an account, in the caller's transaction; with `only_by` if that suspended it."""
    statement = _RESUME if only_by is None else _RESUME_BY
    if _changed(connection, statement, name, {} if only_by is None else {"by": only_by}):
        void(connection, f"user:{name}")
        record(connection, of_user(Kind.USER_RESUMED, actor, name))


def _changed(
    connection: Connection, statement: Executable, name: str, parameters: dict[str, object]
) -> bool:
    """Run an update of one account; return whether it changed. Raises UserUnknown."""
    if changed(connection, statement, {"this": name, **parameters}):
        return True
    if connection.execute(_IS_THERE, {"this": name}).first() is None:
        raise unknown_user(name)
    return False
