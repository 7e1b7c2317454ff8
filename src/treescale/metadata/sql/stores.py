"""The cluster's stores in SQL."""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, or_, select, update
from sqlalchemy.engine import Connection

from treescale.errors import StoreUnknown
from treescale.metadata.records import StoreRecord, StoreState
from treescale.metadata.schema import stores
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_update_if
from treescale.metadata.sql.times import DatabaseNow

_THIS: Final = stores.c.store_id == bindparam("this")
_LABELS: Final = ("server", "path", "zone", "weight", "server_id")

LIST: Final = select(stores).order_by(stores.c.store_id)
# What stays as it was: when it was first registered, its state, and what was last said of it.
_REGISTER: Final = insert_or_update_if(
    stores,
    _LABELS,
    {"seen": DatabaseNow()},
    lambda new: or_(stores.c.server_id == new.server_id, stores.c.server_id == bindparam("holder")),
)
SET_STATE: Final = update(stores).where(_THIS).values(state=bindparam("to_state"))
REMOVE: Final = delete(stores).where(_THIS)


class SqlStores:
    """Implements `protocols.Stores`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def register(self, store: StoreRecord, *, holder: str = "") -> bool:
        """Add it, or update its labels when it is its server's or `holder`'s; else False."""
        row = {
            "store_id": store.store_id,
            "server": store.server,
            "path": store.path,
            "zone": store.zone,
            "weight": store.weight,
            "registered": store.registered,
            "server_id": store.server_id,
            "holder": holder,
        }

        def work(connection: Connection) -> bool:
            return connection.execute(_REGISTER.on(connection), row).rowcount == 1

        return await self._connections.write(work)

    async def set_state(self, store_id: str, state: StoreState) -> None:
        """Say what is wanted of it; raises StoreUnknown."""
        change = {"this": store_id, "to_state": state.value}
        if await self._connections.change(SET_STATE, change) == 0:
            raise _unknown(store_id)

    async def list(self) -> list[StoreRecord]:
        """Return all, by id."""
        return [_store(row) for row in await self._connections.rows(LIST)]

    async def remove(self, store_id: str) -> None:
        """Forget it; raises StoreUnknown."""
        if await self._connections.change(REMOVE, {"this": store_id}) == 0:
            raise _unknown(store_id)


def _store(row: Row[Any]) -> StoreRecord:
    return StoreRecord(
        store_id=row.store_id,
        server=row.server,
        path=row.path,
        zone=row.zone,
        weight=row.weight,
        registered=row.registered,
        server_id=row.server_id,
        state=StoreState(row.state),
        seen=row.seen,
        bytes_total=row.bytes_total,
        bytes_free=row.bytes_free,
        trouble=row.trouble,
    )


def _unknown(store_id: str) -> StoreUnknown:
    return StoreUnknown(f"no store {store_id}: see the stores with `treescale cluster status`")
