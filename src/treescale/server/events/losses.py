"""That chunks are lost, or were found again, as events: one of all servers looks.

A disk may take thousands with it, so an event tells how many there are now, and of a few blobs.
How many were told of is noted with the event, in its transaction.
"""

from typing import Final

from sqlalchemy.engine import Connection

from treescale.metadata.database import Database
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.records import LostData
from treescale.metadata.schema import settings

SETTING: Final = "lost_told"
"""Where it is noted: how many chunks."""
BLOBS_TOLD_MAX: Final = 20
_PUT: Final = insert_or_update(settings, ["value"])


def told(before: int, lost: LostData, actor: str) -> Event | None:
    """Return what to tell of when so many chunks were lost before; None: nothing is new."""
    if lost.chunks == before:
        return None
    kind = Kind.CHUNK_LOST if lost.chunks > before else Kind.CHUNK_HEALED
    payload = {
        "chunks": abs(lost.chunks - before),
        "lost_chunks": lost.chunks,
        "lost_blobs": lost.blobs,
        "among": [{"repository": one.repository, "digest": one.digest} for one in lost.listed],
    }
    return Event(kind, actor, payload=payload)


async def look(database: Database, actor: str) -> None:
    """Record that chunks were lost, or found again, since the last look."""
    text = await database.settings.get(SETTING)
    before = int(text) if text is not None and text.isdecimal() else 0
    lost = await database.lost.overview(BLOBS_TOLD_MAX)
    event = told(before, lost, actor)
    if event is None:
        return

    def work(connection: Connection) -> None:
        note = {"name": SETTING, "value": str(lost.chunks)}
        connection.execute(_PUT.on(connection), note)
        record(connection, event)

    await database.connections.write(work)
