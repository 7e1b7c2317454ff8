"""What the rows say where the protocols do not: leases, exact references, cascades."""

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update

from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    layout,
    manifest,
    part,
    small,
    upload,
)
from tests.database_clock import MovedClock
from treescale.errors import Corrupt, DatabaseUnavailable
from treescale.lease_times import LeaseTimes
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.records import EMPTY_TAIL, ServerRecord
from treescale.metadata.schema import (
    SETTLED,
    blob_chunks,
    counters,
    metadata,
    repository_blobs,
    servers,
)
from treescale.metadata.uploads import pack_parts, unpack_parts

PARTS = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)), max_size=9
)
PROCESSES = 3
SECONDS_MAX = 120


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def rows(url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(url))
    yield opened
    await opened.close()


@pytest.fixture
def database(rows: Connections, database_clock: MovedClock) -> Database:
    assert database_clock.ahead == 0
    return Database(rows)


async def pairs(rows: Connections, statement: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await rows.rows(statement)]


async def counts(rows: Connections) -> dict[str, int]:
    """Return how many rows each table has, but for empty ones."""
    found = {}
    for table in metadata.sorted_tables:
        if table is counters:  # numbers that commits draw
            continue
        row = await rows.row(select(func.count()).select_from(table))
        assert row is not None
        found[table.name] = int(row[0])
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("said", ["{", "null", '{"a": 1}', '[["a"]]'])
async def test_what_a_later_version_says_of_others_is_no_reason_to_know_no_servers(
    rows: Connections, database: Database, said: str
) -> None:
    server = ServerRecord("a", "host", "http://a:5000", "", NOW)
    await database.servers.register(server, live_seconds=3600.0, actor=ACTOR)
    await rows.change(update(servers).values(unreached=said))
    (found,) = await database.servers.list()
    assert found.unreached == ()


@pytest.fixture
def leases(rows: Connections) -> Callable[[], Awaitable[list[float]]]:
    """Return what tells how long each link's lease goes on from now."""

    async def left() -> list[float]:
        found = await rows.rows(select(repository_blobs.c.lease_until - DatabaseNow()))
        return [float(row[0]) for row in found]

    return left


async def test_a_link_is_leased_for_two_leases(
    leases: Callable[[], Awaitable[list[float]]], database: Database
) -> None:
    """Whatever the server that asks takes the time to be."""
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(LeaseTimes().link, abs=60)]
    assert await database.blobs.mount("bob/app", digest(1), [APP], now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(LeaseTimes().link, abs=60)] * 2


async def test_a_lease_is_renewed_and_never_shortened(
    leases: Callable[[], Awaitable[list[float]]],
    rows: Connections,
    database: Database,
    database_clock: MovedClock,
) -> None:
    hour, link = 3600, LeaseTimes().link
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database_clock.move(database, hour)
    assert await leases() == [pytest.approx(link - hour, abs=60)]
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(link, abs=60)]
    await database_clock.move(database, hour)
    assert await database.blobs.mount(APP, digest(1), [APP], now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(link, abs=60)]
    await database_clock.move(database, -hour)
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(link + hour, abs=60)]
    await rows.change(update(repository_blobs).values(lease_until=SETTLED))
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await leases() == [pytest.approx(link, abs=60)], "one that was settled, too"


async def test_references_are_exactly_the_recipes(rows: Connections, database: Database) -> None:
    chunks = select(blob_chunks.c.chunk).order_by(blob_chunks.c.chunk)
    twice = large(1, part(2), part(1), part(2))
    await database.blobs.commit(APP, twice, upload_id=None, now=NOW, actor=ACTOR)
    assert await pairs(rows, chunks) == [(part(1)[0],), (part(2)[0],)]
    await database.blobs.commit(APP, large(1, part(3)), upload_id=None, now=NOW, actor=ACTOR)
    assert await pairs(rows, chunks) == [(part(3)[0],)]
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await pairs(rows, chunks) == []


async def test_a_deleted_repository_keeps_its_rows_and_leaves_its_age(
    rows: Connections, database: Database
) -> None:
    await database.blobs.commit(
        APP, large(1, part(1), part(2)), upload_id=None, now=NOW, actor=ACTOR
    )
    await database.manifests.put(APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR)
    await database.repositories.delete(APP, actor=ACTOR)
    assert await counts(rows) == {
        "blobs": 1,
        "blob_chunks": 2,
        "chunks": 2,
        "settings": 1,
        "events": 3,
        "manifest_references": 1,
        "manifests": 1,
        "namespaces": 1,
        "repositories": 1,
        "repository_blobs": 1,
        "tags": 1,
        "usage_changes": 3,
    }


async def test_an_ended_upload_leaves_nothing(rows: Connections, database: Database) -> None:
    await database.uploads.create(upload())
    await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
    await database.uploads.delete("upload")
    assert await counts(rows) == {}


async def test_a_layout_is_as_documented(rows: Connections, database: Database) -> None:
    await database.layouts.propose(layout(1, "a"), actor=ACTOR)
    (found,) = await pairs(rows, text("SELECT number, copies, created, stores FROM layouts"))
    assert found[:3] == (1, 2, NOW)
    assert json.loads(found[3]) == [
        {"store_id": "a", "server": "on-a", "zone": "zone", "weight": 1.0}
    ]


@pytest.mark.parametrize("stores", ["", "{}", '[{"store_id": "a"}]'])
async def test_what_is_no_layout_is_not_taken_for_one(
    rows: Connections, database: Database, stores: str
) -> None:
    row = text("INSERT INTO layouts (number, copies, created, stores) VALUES (1, 1, 0, :stores)")
    await rows.change(row, {"stores": stores})
    with pytest.raises(Corrupt, match="layout 1"):
        await database.layouts.latest()


@pytest.mark.parametrize("name", ["repositories._ATTEMPTS_MAX", "blobs._ATTEMPTS_MAX"])
async def test_what_is_removed_under_our_feet_is_not_pursued_for_ever(
    rows: Connections, database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"treescale.metadata.{name}", 0)
    with pytest.raises(DatabaseUnavailable, match="try again"):
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    assert await counts(rows) == {}


@given(st.lists(PARTS, max_size=4))
def test_parts_come_back_in_order(lists: list[list[tuple[bytes, int]]]) -> None:
    packed = [pack_parts(parts) for parts in lists]
    assert [len(entries) for entries in packed] == [36 * len(parts) for parts in lists]
    assert unpack_parts(packed) == tuple(each for parts in lists for each in parts)


def test_a_part_is_as_documented() -> None:
    assert pack_parts([(b"i" * 32, 0x01020304)]) == b"i" * 32 + bytes([1, 2, 3, 4])


@pytest.mark.parametrize("length", [-1, 2**32])
def test_a_length_that_does_not_fit_is_no_entry(length: int) -> None:
    with pytest.raises(struct.error):
        pack_parts([(bytes(32), length)])


@pytest.mark.long
async def test_processes_share_one_file(sqlite_url: str) -> None:
    """Each commits blobs of its own and shared ones, and moves the same tag and upload on."""
    database = open_database(sqlite_url)
    await database.uploads.create(upload())
    script = str(Path(__file__).with_name("process.py"))
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, script, sqlite_url, str(number))
        for number in range(PROCESSES)
    ]
    async with asyncio.timeout(SECONDS_MAX):
        assert [await process.wait() for process in processes] == [0] * PROCESSES
    usage = await database.repositories.usage(APP)
    assert (usage.blobs, usage.manifests) == (20 + PROCESSES * 20, PROCESSES * 20)
    assert usage.bytes_chunked == (1 + PROCESSES) * 1000
    got = await database.uploads.get("upload")
    settled = await database.uploads.settled("upload", got.settled_bytes)
    assert got.offset == 1000 * len(settled) == 1000 * 20 * PROCESSES
    await database.close()
