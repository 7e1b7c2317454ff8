"""Layouts in SQL: the number is the lock."""

from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, select
from sqlalchemy.engine import Connection

from treescale.errors import Corrupt
from treescale.metadata.records import LayoutRecord, LayoutStore
from treescale.metadata.schema import layouts
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_ignore

LIST: Final = select(layouts).order_by(layouts.c.number.desc()).limit(bindparam("limit"))
LATEST: Final = select(layouts.c.number).order_by(layouts.c.number.desc()).limit(1)
_PROPOSE: Final = insert_or_ignore(layouts, returning=layouts.c.number)
_STORES: Final = msgspec.json.Decoder(tuple[LayoutStore, ...])


class SqlLayouts:
    """Implements `protocols.Layouts`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def latest(self) -> LayoutRecord | None:
        """Return the one in force, None before the first."""
        found = await self.list(1)
        return found[0] if found else None

    async def list(self, limit: int) -> list[LayoutRecord]:
        """Return the newest `limit`, newest first."""
        return [_layout(row) for row in await self._connections.rows(LIST, {"limit": limit})]

    async def propose(self, layout: LayoutRecord) -> bool:
        """Put it in force if its number is the next one; False when it is not."""
        row = {
            "number": layout.number,
            "copies": layout.copies,
            "created": layout.created,
            "stores": msgspec.json.encode(layout.stores).decode(),
        }

        def work(connection: Connection) -> bool:
            before = connection.execute(LATEST).scalar_one_or_none() or 0
            if layout.number != before + 1:
                return False
            # Another may have taken the number since, where writers are not alone.
            made = connection.execute(_PROPOSE.on(connection), row)
            return made.scalar_one_or_none() is not None

        return await self._connections.write(work)


def _layout(row: Row[Any]) -> LayoutRecord:
    try:
        stores = _STORES.decode(row.stores)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"layout {row.number} in the database is no layout: {error}") from error
    return LayoutRecord(row.number, stores, row.copies, row.created)
