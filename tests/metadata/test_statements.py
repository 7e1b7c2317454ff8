"""What a push costs in statements while nothing is lost: as many as before that was known."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    small,
    upload,
)
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import EMPTY_TAIL
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.records import THE_CLUSTER, RuleKind, Saying
from treescale.metadata.schema import purged_chunks

COMMIT = 5
"""The repository is held, the blob made, its chunks made and referred to, the link made."""
ADVANCE = 2
"""The session advances, and a part of it is added."""
MOUNT = 3
MANIFEST = 7
"""The repository and what it names held (here also as manifests), row, references, a tag: as many
as before events were recorded, and one for the event, which tells what the tag pointed at."""


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    opened = open_database(sqlite_url)
    await opened.blobs.commit(
        APP, replace(large(1, part(1)), layout=1), upload_id=None, now=NOW, actor=ACTOR
    )
    yield opened
    await opened.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the statements that writes run from now on."""
    found: list[str] = []
    original = Connection.execute

    def execute(self: Connection, statement: Any, *args: Any, **named: Any) -> Any:
        found.append(type(statement).__name__)
        return original(self, statement, *args, **named)

    monkeypatch.setattr(Connection, "execute", execute)
    return found


async def test_a_commit(database: Database, run: list[str]) -> None:
    blob = replace(large(2, part(2)), layout=1)
    await database.blobs.commit(APP, blob, upload_id=None, now=NOW, actor=ACTOR)
    assert len(run) == COMMIT, run


async def test_the_first_commit_of_a_process_notes_by_which_layout(
    sqlite_url: str,
    database: Database,  # noqa: ARG001  it has pushed before
    run: list[str],
) -> None:
    other = open_database(sqlite_url)
    for number, more in ((2, 1), (3, 0), (4, 0)):
        run.clear()
        blob = replace(large(number, part(number)), layout=1)
        await other.blobs.commit(APP, blob, upload_id=None, now=NOW, actor=ACTOR)
        assert len(run) == COMMIT + more, run
    await other.close()


async def test_an_advance(database: Database, run: list[str]) -> None:
    await database.uploads.create(upload())
    run.clear()
    step = progress(0, 1000, EMPTY_TAIL, part(2))
    await database.uploads.advance("upload", replace(step, layout=1), now=NOW)
    assert len(run) == ADVANCE, run


async def test_a_mount(database: Database, run: list[str]) -> None:
    await database.repositories.set_public("bob/app", public=False, now=NOW, actor=ACTOR)
    run.clear()
    assert await database.blobs.mount("bob/app", digest(1), [APP], now=NOW, actor=ACTOR)
    assert len(run) == MOUNT, run


async def test_a_manifest(database: Database, run: list[str]) -> None:
    await database.blobs.commit(APP, small(2), upload_id=None, now=NOW, actor=ACTOR)
    run.clear()
    references = [blob_reference(1), blob_reference(2)]
    await database.manifests.put(APP, manifest(), references, ["v1"], now=NOW, actor=ACTOR)
    assert len(run) <= MANIFEST, run


async def test_a_tag_that_moves_asks_for_rules_only_where_there_are_some(
    database: Database, run: list[str]
) -> None:
    counts = []
    versions = Saying(RuleKind.IMMUTABLE, ("v*",))
    for number in range(4):
        if number == 2:
            await Rules(database.connections).add(THE_CLUSTER, versions, actor=ACTOR)
        run.clear()
        what = manifest(f"{number}".encode())
        await database.manifests.put(
            APP, what, [blob_reference(1)], ["latest"], now=NOW, actor=ACTOR
        )
        counts.append(len(run))
    first, moved, *ruled = counts
    assert moved == first, "the first push of a tag cost as much"
    assert ruled == [moved + 2] * 2, "which rules there are, and then the write"


async def test_while_something_is_lost_each_looks_once_more(
    database: Database, run: list[str]
) -> None:
    await database.lost.note(part(99)[0], ())
    run.clear()
    await database.blobs.commit(
        APP, replace(large(2, part(2)), layout=1), upload_id=None, now=NOW, actor=ACTOR
    )
    assert len(run) == COMMIT + 1, run


async def test_while_something_was_purged_lately_each_looks_once_more(
    database: Database, run: list[str]
) -> None:
    await database.uploads.create(upload())
    row = insert(purged_chunks).values(chunk=part(99)[0], purge_id="p", length=1)
    await database.connections.change(row)
    run.clear()
    step = progress(0, 1000, EMPTY_TAIL, part(2))
    await database.uploads.advance("upload", replace(step, layout=1), now=NOW)
    assert len(run) == ADVANCE + 1, run
    run.clear()
    blob = replace(large(2, part(2)), layout=1)
    await database.blobs.commit(APP, blob, upload_id=None, now=NOW, actor=ACTOR)
    assert len(run) == COMMIT + 1, run
