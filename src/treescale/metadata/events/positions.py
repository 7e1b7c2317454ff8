"""How far each of those that read the log in order has come: a number under its name."""

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.schema import counters

POSITION: Final = "read/"
"""How the name of such a row of `counters` begins. A restore leaves it where it is."""
_GET: Final = select(counters.c.value).where(counters.c.name == bindparam("this"))
_ADVANCE: Final = insert_or_update(counters, ["value"], later="value")


class Positions:
    """Positions in the log."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, reader: str) -> int:
        """Return the sequence of the last event that it is done with; 0 before the first."""
        row = await self._connections.row(_GET, {"this": POSITION + reader})
        return 0 if row is None else row.value

    async def advance(self, reader: str, sequence: int) -> None:
        """Note that it is done with all up to this event; it never goes back."""
        row = {"name": POSITION + reader, "value": sequence}

        def work(connection: Connection) -> None:
            connection.execute(_ADVANCE.on(connection), row)

        await self._connections.write(work)
