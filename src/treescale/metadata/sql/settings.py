"""The cluster's settings in SQL."""

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from treescale.metadata.schema import settings
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_update

GET: Final = select(settings.c.value).where(settings.c.name == bindparam("this"))
_PUT: Final = insert_or_update(settings, ["value"])


class SqlSettings:
    """Implements `protocols.Settings`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, name: str) -> str | None:
        """Return the value, None when unset."""
        row = await self._connections.row(GET, {"this": name})
        return None if row is None else str(row.value)

    async def put(self, name: str, value: str) -> None:
        """Set it."""

        def work(connection: Connection) -> None:
            connection.execute(_PUT.on(connection), {"name": name, "value": value})

        await self._connections.write(work)
