"""That the walk or the collection of a store has finished something, as an event.

What it has done is on disks by then: an event that the database does not take is not told.
"""

from collections.abc import Awaitable, Callable, Mapping

from treescale.metadata.database import Database
from treescale.metadata.events.recording import Event, Kind, record

Tell = Callable[[Kind, str, Mapping[str, object]], Awaitable[None]]
"""Records a kind, who asked for it ("" when nobody did), and what was done."""


def teller(database: Database, actor: str) -> Tell:
    """Return what records; `actor` is who does what nobody has asked for."""

    async def tell(kind: Kind, asked_by: str, payload: Mapping[str, object]) -> None:
        event = Event(kind, asked_by or actor, payload=payload)
        await database.connections.write(lambda connection: record(connection, event))

    return tell


async def tell_nobody(_: Kind, __: str, ___: Mapping[str, object]) -> None:
    """Record nothing."""
