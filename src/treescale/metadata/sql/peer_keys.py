"""The secrets by which servers know each other, in SQL."""

from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from treescale.metadata.records import PeerKey
from treescale.metadata.schema import peer_keys
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_ignore
from treescale.metadata.sql.times import DatabaseNow

LIST: Final = select(peer_keys).order_by(peer_keys.c.number)
_ADD: Final = insert_or_ignore(
    peer_keys, returning=peer_keys.c.number, computed={"created": DatabaseNow()}
)
REMOVE: Final = delete(peer_keys).where(peer_keys.c.number == bindparam("this"))


class SqlPeerKeys:
    """Implements `protocols.PeerKeys`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[PeerKey]:
        """Return all, oldest first."""
        rows = await self._connections.rows(LIST)
        return [PeerKey(row.number, bytes(row.secret), row.created) for row in rows]

    async def add(self, number: int, secret: bytes) -> bool:
        """Keep a key under this number if there is none; of several callers at once one wins."""

        def work(connection: Connection) -> bool:
            row = {"number": number, "secret": secret}
            made = connection.execute(_ADD.on(connection), row)
            return made.scalar_one_or_none() is not None

        return await self._connections.write(work)

    async def remove(self, number: int) -> None:
        """Forget it: what it signed is void at once."""
        await self._connections.change(REMOVE, {"this": number})
