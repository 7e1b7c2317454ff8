"""Accounts in SQL. What voids bearer tokens is recorded in the transaction that does it."""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.engine import Connection

from treescale.errors import UserExists, UserUnknown
from treescale.metadata.records import User
from treescale.metadata.schema import users
from treescale.metadata.sql.connections import Connections, changed
from treescale.metadata.sql.revocations import revoke
from treescale.metadata.sql.statements import insert_or_ignore

_THIS: Final = users.c.name == bindparam("this")

GET: Final = select(users).where(_THIS)
LIST: Final = (
    select(users)
    .where(users.c.name > bindparam("after"))
    .order_by(users.c.name)
    .limit(bindparam("limit"))
)
_ADD: Final = insert_or_ignore(users)
SET_PASSWORD: Final = update(users).where(_THIS).values(password_hash=bindparam("new_hash"))
REMOVE: Final = delete(users).where(_THIS)


class SqlUsers:
    """Implements `protocols.Users`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, user: User) -> None:
        """Create it; raises UserExists."""
        row = {
            "name": user.name,
            "password_hash": user.password_hash,
            "admin": user.admin,
            "created": user.created,
        }

        def work(connection: Connection) -> int:
            return changed(connection, _ADD.on(connection), row)

        if await self._connections.write(work) == 0:
            raise UserExists(f"user {user.name} exists already")

    async def get(self, name: str) -> User:
        """Return it; raises UserUnknown."""
        row = await self._connections.row(GET, {"this": name})
        if row is None:
            raise _unknown(name)
        return _user(row)

    async def list(self, after: str, limit: int) -> list[User]:
        """Return a page by name."""
        rows = await self._connections.rows(LIST, {"after": after, "limit": limit})
        return [_user(row) for row in rows]

    async def set_password(self, name: str, password_hash: str, *, now: float) -> None:
        """Change it, and record a revocation of `user:NAME`; raises UserUnknown."""

        def work(connection: Connection) -> None:
            change = {"this": name, "new_hash": password_hash}
            if changed(connection, SET_PASSWORD, change) == 0:
                raise _unknown(name)
            revoke(connection, f"user:{name}", now=now)

        await self._connections.write(work)

    async def remove(self, name: str, *, now: float) -> None:
        """Remove the account and its access tokens, and record a revocation; raises UserUnknown."""

        def work(connection: Connection) -> None:
            if changed(connection, REMOVE, {"this": name}) == 0:
                raise _unknown(name)
            revoke(connection, f"user:{name}", now=now)

        await self._connections.write(work)


def _user(row: Row[Any]) -> User:
    return User(
        name=row.name,
        password_hash=row.password_hash,
        admin=bool(row.admin),
        created=row.created,
    )


def _unknown(name: str) -> UserUnknown:
    return UserUnknown(f"no user {name}")
