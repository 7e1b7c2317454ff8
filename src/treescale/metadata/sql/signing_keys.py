"""The token service's keys in SQL."""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.engine import Connection

from treescale.metadata.records import SigningKey
from treescale.metadata.schema import signing_keys
from treescale.metadata.sql.connections import Connections

_THIS: Final = signing_keys.c.key_id == bindparam("this")

LIST: Final = select(signing_keys).order_by(signing_keys.c.not_before, signing_keys.c.key_id)
COUNT: Final = select(func.count()).select_from(signing_keys)
# "None at all" is nothing a row lock can hold; SQLite's writers are alone anyway.
LOCK_ON_POSTGRESQL: Final = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
_ADD: Final = insert(signing_keys)
RETIRE: Final = update(signing_keys).where(_THIS).values(retire_at=bindparam("at"))
REMOVE: Final = delete(signing_keys).where(_THIS)


class SqlSigningKeys:
    """Implements `protocols.SigningKeys`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[SigningKey]:
        """Return all keys, oldest `not_before` first."""
        return [_key(row) for row in await self._connections.rows(LIST)]

    async def add(self, key: SigningKey) -> None:
        """Keep a key."""
        await self._connections.change(_ADD, _row(key))

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key if there is none at all; of several callers at once one wins."""

        def work(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(LOCK_ON_POSTGRESQL)
            if connection.execute(COUNT).scalar_one() == 0:
                connection.execute(_ADD, _row(key))

        await self._connections.write(work)

    async def retire(self, key_id: str, *, retire_at: float) -> None:
        """Stop signing with it from then on."""
        await self._connections.change(RETIRE, {"this": key_id, "at": retire_at})

    async def remove(self, key_id: str) -> None:
        """Forget it: its tokens are void at once."""
        await self._connections.change(REMOVE, {"this": key_id})


def _row(key: SigningKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "private_pem": key.private_pem,
        "not_before": key.not_before,
        "retire_at": key.retire_at,
    }


def _key(row: Row[Any]) -> SigningKey:
    return SigningKey(
        key_id=row.key_id,
        private_pem=row.private_pem,
        not_before=row.not_before,
        retire_at=row.retire_at,
    )
