"""SQLite's shared commits: who shares one keeps what is theirs, and what was promised is synced."""

import asyncio
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    ending,
    manifest,
    part,
    server,
    small,
    store,
    upload,
)
from tests.metadata.held import Held
from treescale.errors import (
    BlobUnknown,
    DatabaseUnavailable,
    ManifestBlobUnknown,
    StoreFull,
    UploadUnknown,
)
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import sqlite_writer
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.sqlite import SqliteDriver
from treescale.metadata.records import EMPTY_TAIL, StoreReport

INSERT = text("INSERT INTO settings (name, value) VALUES (:name, '')")
INSERT_MUCH = text("INSERT INTO settings (name, value) VALUES ('much', hex(zeroblob(1000000)))")
NAMES = text("SELECT name FROM settings ORDER BY name")
SECONDS_MAX = 60
ACKNOWLEDGED = 30


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(sqlite_url))
    yield opened
    await opened.close()


async def in_one_commit(
    where: Connections, works: Sequence[Coroutine[object, object, object]]
) -> list[object]:
    """Return what came out of each, errors too; they queue while another write is held."""
    held = Held(lambda connection: connection.execute(INSERT, {"name": "held"}))
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        group.create_task(where.write(held))
        await held.begun.wait()
        together = group.create_task(outcomes(works))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        held.go.set()
    return together.result()


async def outcomes(works: Sequence[Coroutine[object, object, object]]) -> list[object]:
    return list(await asyncio.gather(*works, return_exceptions=True))


async def names(where: Connections) -> list[str]:
    return [str(row.name) for row in await where.rows(NAMES)]


async def said(where: Connections) -> list[str]:
    """Return the list to which every statement of the writing connection is added from now on."""
    statements: list[str] = []
    await where.write(lambda _: None)
    driver = where._driver
    assert isinstance(driver, SqliteDriver)
    writing = driver._writer._transactions._driver
    assert writing is not None
    writing.set_trace_callback(statements.append)
    return statements


def syncs(statements: Sequence[str]) -> list[str]:
    """Return the levels set and the commits made, in their order."""
    words = [statement.rpartition("=")[2] for statement in statements]
    return [word for word in words if word in {"FULL", "NORMAL", "COMMIT"}]


async def test_those_that_queue_share_a_commit(lite: Connections) -> None:
    statements = await said(lite)
    await in_one_commit(lite, [lite.change(INSERT, {"name": str(n)}) for n in range(20)])
    assert syncs(statements) == ["COMMIT"] * 2


async def test_calls_of_one_round_of_the_loop_share_a_commit(lite: Connections) -> None:
    async def change(name: str) -> int:
        # As a system call does, it lets the writing thread run in the middle of the round.
        threading.Event().wait(0.001)
        return await lite.change(INSERT, {"name": name})

    statements = await said(lite)
    await outcomes([change(str(n)) for n in range(20)])
    assert syncs(statements) == ["COMMIT"]


@pytest.mark.parametrize("undone", ["group", "statement"])
async def test_a_full_disk_in_the_middle_of_a_group_refuses_one_alone(
    lite: Connections, undone: str
) -> None:
    """SQLite undoes a statement by itself only where a trigger hangs on it, else all there is."""
    runs = 0
    if undone == "group":
        await lite.change(text("DROP TRIGGER answers_settings_insert"))

    def first(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        connection.execute(INSERT, {"name": "first"})

    await lite.change(text("PRAGMA max_page_count=200"))
    outcome = await in_one_commit(
        lite, [lite.write(first), lite.change(INSERT_MUCH), lite.change(INSERT, {"name": "last"})]
    )
    assert runs == (2 if undone == "group" else 1), "what was undone was run again"
    assert isinstance(outcome[1], StoreFull)
    assert [outcome[0], outcome[2]] == [None, 1]
    assert await names(lite) == ["first", "held", "last"]


async def test_real_calls_in_one_commit_keep_to_themselves(lite: Connections) -> None:
    database = Database(lite)
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR)
    refused = manifest(b"[2]")
    outcome = await in_one_commit(
        lite,
        [
            database.blobs.commit("alice/new", small(3), upload_id=None, now=NOW, actor=ACTOR),
            database.manifests.put(
                "alice/none", refused, [blob_reference(9)], ["v1"], now=NOW, actor=ACTOR
            ),
            database.blobs.unlink(APP, digest(8)),
            database.manifests.put(
                APP, manifest(b"[1]"), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
            ),
            database.uploads.advance("absent", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW),
            database.blobs.commit(APP, small(4), upload_id=None, now=NOW, actor=ACTOR),
        ],
    )
    kinds = [type(each) for each in outcome]
    none = type(None)
    assert kinds == [none, ManifestBlobUnknown, BlobUnknown, tuple, UploadUnknown, none]
    assert (await database.manifests.resolve(APP, "v1")).payload == b"[1]"
    assert (await database.blobs.find("alice/new", digest(3))).digest == digest(3)
    assert (await database.blobs.find(APP, digest(4))).digest == digest(4)
    known = [each.name for each in await database.repositories.list_all("", 10)]
    assert known == [APP, "alice/new"], "what the refused put created is undone"


async def test_a_heartbeat_is_one_commit_that_is_not_synced(lite: Connections) -> None:
    database = Database(lite)
    await database.servers.register(server("a"), live_seconds=1, actor=ACTOR)
    for name in ("s1", "s2"):
        await database.stores.register(store(name, "a"))
    statements = await said(lite)
    await database.servers.heartbeat("a", [StoreReport(name, 9, 8) for name in ("s1", "s2")])
    assert syncs(statements) == ["NORMAL", "COMMIT"]
    (well, _) = await database.stores.list()
    assert well.bytes_free == 8
    await database.servers.register(server("a"), live_seconds=1, actor=ACTOR)
    assert syncs(statements) == ["NORMAL", "COMMIT", "FULL", "COMMIT"]


async def test_an_upload_session_is_not_synced(lite: Connections) -> None:
    """The control of test_the_commit_of_a_blob_syncs_what_went_before."""
    database, statements = Database(lite), await said(lite)
    await database.uploads.create(upload())
    await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
    assert syncs(statements) == ["NORMAL", "COMMIT", "COMMIT"]


async def test_the_commit_of_a_blob_syncs_what_went_before(lite: Connections) -> None:
    database, statements = Database(lite), await said(lite)
    await database.uploads.create(upload())
    await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
    new = ending(small(1), await database.uploads.get("upload"))
    statements.clear()
    await database.blobs.commit(APP, new, upload_id="upload", now=NOW, actor=ACTOR)
    assert syncs(statements) == ["FULL", "COMMIT"]
    assert (await database.blobs.find(APP, digest(1))).digest == digest(1)
    with pytest.raises(UploadUnknown):
        await database.uploads.get("upload")


async def test_one_that_must_be_synced_makes_its_group_synced(lite: Connections) -> None:
    statements = await said(lite)
    await lite.change(INSERT, {"name": "relaxed"}, durable=False)
    await outcomes(
        [
            lite.change(INSERT, {"name": "a"}, durable=False),
            lite.change(INSERT, {"name": "b"}),
            lite.change(INSERT, {"name": "c"}, durable=False),
        ]
    )
    assert syncs(statements) == ["NORMAL", "COMMIT", "FULL", "COMMIT"]


async def test_a_connection_let_go_of_leaves_its_settings_to_nobody(lite: Connections) -> None:
    def settings(connection: Connection) -> list[object]:
        words = ("synchronous", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {word}").scalar_one() for word in words]

    driver = lite._driver
    assert isinstance(driver, SqliteDriver)
    assert await lite.write(settings, durable=False) == [1, 0]
    await asyncio.to_thread(driver._writer.close)
    waits = await lite.row(text("PRAGMA busy_timeout"))
    assert waits is not None
    assert waits[0] == 10_000
    assert await lite.write(settings) == [2, 0]


async def test_a_full_queue_refuses_at_once(
    lite: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "QUEUE_MAX", 3)
    works = [lite.change(INSERT, {"name": f"{n}"}) for n in range(5)]
    outcome = await in_one_commit(lite, works)
    assert outcome[:3] == [1] * 3
    assert all(isinstance(each, DatabaseUnavailable) for each in outcome[3:])
    assert await names(lite) == ["0", "1", "2", "held"]


async def test_another_process_is_waited_for_in_short_steps(
    lite: Connections, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    steps: list[float] = []

    def sleep(seconds: float) -> None:
        steps.append(seconds)
        if len(steps) == 4:
            holder.execute("ROLLBACK")

    monkeypatch.setattr(sqlite_writer, "time", SimpleNamespace(sleep=sleep))
    assert await lite.change(INSERT, {"name": "a"}) == 1
    assert steps == [0.0003, 0.0006, 0.0012, sqlite_writer.STEP_SECONDS_MAX]
    holder.close()


async def test_but_no_longer_than_was_asked_for(
    lite: Connections, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    steps: list[float] = []

    def sleep(seconds: float) -> None:
        steps.append(seconds)
        assert sum(steps) < 20

    monkeypatch.setattr(sqlite_writer, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await lite.change(INSERT, {"name": "a"})
    assert 10 <= sum(steps) < 10 + sqlite_writer.STEP_SECONDS_MAX
    holder.close()


@pytest.mark.long
async def test_a_process_killed_as_it_writes_leaves_a_sound_file(
    sqlite_url: str, tmp_path: Path
) -> None:
    told = tmp_path / "acknowledged"
    await asyncio.to_thread(told.write_bytes, b"%010d" % 0)
    script = str(Path(__file__).with_name("pusher.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, sqlite_url, str(told), "1000000"
    )
    async with asyncio.timeout(SECONDS_MAX):
        while int(await asyncio.to_thread(told.read_bytes)) < ACKNOWLEDGED:
            pass  # a thread reads it: the loop goes on
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    acknowledged = int(await asyncio.to_thread(told.read_bytes))
    file = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert file.execute("PRAGMA foreign_key_check").fetchall() == []
    file.close()
    database = open_database(sqlite_url)
    latest = await database.manifests.resolve(APP, "latest")
    assert int(latest.payload) - acknowledged in {0, 1}, "the last may be kept, but not told yet"
    await database.settings.put("a", "b")
    await database.close()
