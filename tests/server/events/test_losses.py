"""Chunks that are lost are told of by their number, and so are those that were found again."""

from dataclasses import replace
from pathlib import Path

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, large, part
from tests.templates import empty_database
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import LostBlob, LostData
from treescale.server.events.losses import look, told

SERVER = "server:a"


async def read(database: Database) -> list[tuple[str, int, int]]:
    await database.event_log.number()
    return [
        (each.kind, each.payload["chunks"], each.payload["lost_chunks"])
        for each in await database.event_log.after(0, 100)
        if each.kind.startswith("chunk.") and each.actor == SERVER
    ]


async def test_each_change_is_told_of_once(tmp_path: Path) -> None:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    chunks = [part(number) for number in (1, 2, 3)]
    blob = replace(large(1, *chunks), layout=1)
    await database.blobs.commit(APP, blob, upload_id=None, now=NOW, actor=ACTOR)
    await look(database, SERVER)
    assert await read(database) == []
    for chunk, _ in chunks:
        await database.lost.note(chunk, ())
    for _ in range(2):
        await look(database, SERVER)
    assert await read(database) == [("chunk.lost", 3, 3)]
    await database.lost.heal([chunks[0][0]])
    for _ in range(2):
        await look(database, SERVER)
    assert (await read(database))[1:] == [("chunk.healed", 1, 2)]
    await database.close()


def test_a_few_blobs_are_named() -> None:
    blob = LostBlob(APP, digest(1), 9, NOW, 2, (), ("v1",))
    event = told(1, LostData(3, 1, 1, NOW, (blob,)), SERVER)
    assert event is not None
    assert event.payload == {
        "chunks": 2,
        "lost_chunks": 3,
        "lost_blobs": 1,
        "among": [{"repository": APP, "digest": digest(1)}],
    }
    assert told(3, LostData(3, 1, 1, NOW, (blob,)), SERVER) is None
