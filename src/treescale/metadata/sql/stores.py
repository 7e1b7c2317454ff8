"""The cluster's stores in SQL."""

from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.engine import Connection

from treescale.metadata.records import StoreRecord
from treescale.metadata.schema import stores
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_update

LIST: Final = select(stores).order_by(stores.c.store_id)
_REGISTER: Final = insert_or_update(stores, ["server", "path", "zone", "weight"])


class SqlStores:
    """Implements `protocols.Stores`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def register(self, store: StoreRecord) -> None:
        """Add it, or update its labels; when it was first registered stays."""
        row = {
            "store_id": store.store_id,
            "server": store.server,
            "path": store.path,
            "zone": store.zone,
            "weight": store.weight,
            "registered": store.registered,
        }

        def work(connection: Connection) -> None:
            connection.execute(_REGISTER.on(connection), row)

        await self._connections.write(work)

    async def list(self) -> list[StoreRecord]:
        """Return all, by id."""
        return [_store(row) for row in await self._connections.rows(LIST)]


def _store(row: Row[Any]) -> StoreRecord:
    return StoreRecord(
        store_id=row.store_id,
        server=row.server,
        path=row.path,
        zone=row.zone,
        weight=row.weight,
        registered=row.registered,
    )
