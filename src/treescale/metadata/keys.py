"""The token service's keys, and the secrets by which servers know each other."""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.engine import Connection

from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.records import PeerKey, SigningKey
from treescale.metadata.schema import peer_keys, signing_keys

_THIS_SIGNING_KEY: Final = signing_keys.c.key_id == bindparam("this")

LIST_SIGNING_KEYS: Final = select(signing_keys).order_by(
    signing_keys.c.not_before, signing_keys.c.key_id
)
COUNT_SIGNING_KEYS: Final = select(func.count()).select_from(signing_keys)
# "None at all" is nothing a row lock can hold; SQLite's writers are alone anyway.
LOCK_ON_POSTGRESQL: Final = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
_ADD_SIGNING_KEY: Final = insert(signing_keys)
RETIRE_SIGNING_KEY: Final = (
    update(signing_keys).where(_THIS_SIGNING_KEY).values(retire_at=bindparam("at"))
)
REMOVE_SIGNING_KEY: Final = delete(signing_keys).where(_THIS_SIGNING_KEY)


class SigningKeys:
    """The token service's keys."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[SigningKey]:
        """Return all keys, oldest `not_before` first."""
        return [_key(row) for row in await self._connections.rows(LIST_SIGNING_KEYS)]

    async def add(self, key: SigningKey) -> None:
        """Keep a key."""
        await self._connections.change(_ADD_SIGNING_KEY, _row(key))

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key if there is none at all; of several callers at once one wins."""

        def work(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(LOCK_ON_POSTGRESQL)
            if connection.execute(COUNT_SIGNING_KEYS).scalar_one() == 0:
                connection.execute(_ADD_SIGNING_KEY, _row(key))

        await self._connections.write(work)

    async def retire(self, key_id: str, *, retire_at: float) -> None:
        """Stop signing with it from then on."""
        await self._connections.change(RETIRE_SIGNING_KEY, {"this": key_id, "at": retire_at})

    async def remove(self, key_id: str) -> None:
        """Forget it: its tokens are void at once."""
        await self._connections.change(REMOVE_SIGNING_KEY, {"this": key_id})


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


LIST_PEER_KEYS: Final = select(peer_keys).order_by(peer_keys.c.number)
_ADD_PEER_KEY: Final = insert_or_ignore(
    peer_keys, returning=peer_keys.c.number, computed={"created": DatabaseNow()}
)
REMOVE_PEER_KEY: Final = delete(peer_keys).where(peer_keys.c.number == bindparam("this"))


class PeerKeys:
    """The secrets by which servers know each other. All are accepted; which signs is not said."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[PeerKey]:
        """Return all, oldest first."""
        rows = await self._connections.rows(LIST_PEER_KEYS)
        return [PeerKey(row.number, bytes(row.secret), row.created) for row in rows]

    async def add(self, number: int, secret: bytes) -> bool:
        """Keep a key under this number; False when there is one: of several at once one wins."""

        def work(connection: Connection) -> bool:
            row = {"number": number, "secret": secret}
            made = connection.execute(_ADD_PEER_KEY.on(connection), row)
            return made.scalar_one_or_none() is not None

        return await self._connections.write(work)

    async def remove(self, number: int) -> None:
        """Forget it: what it signed is void at once. Nothing happens when it is gone."""
        await self._connections.change(REMOVE_PEER_KEY, {"this": number})
