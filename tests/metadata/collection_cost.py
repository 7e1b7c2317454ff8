"""How long each step of the row collector holds its locks: python collection_cost.py URL [SCALE].

URL is a migrated, empty database. At scale 1 it gets 10,000 manifests, 100,000 links and blobs, and
a blob of 10,000 chunks. Prints of the transactions of each step, and of the reads that find out
what is due, how many there were, and in milliseconds: of this process's own work (all of it on
SQLite) the median; of the time that passed the tenth percentile, the median and the worst. By hand;
on a busy machine the first two are what counts.
"""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import Table, insert, text
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import ACTOR, digest, manifest
from treescale.lease_times import UNDELETE_SETTING, stored
from treescale.metadata.collection import adoption, left_behind, rows
from treescale.metadata.collection.pieces import CHUNKS_AT_ONCE
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database, open_database
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    deleted_tags,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
)

REPOSITORIES: Final = 10
LINKS_EACH: Final = 10
ROWS_AT_ONCE: Final = 2000
LARGE: Final = 10_000
REFERRERS: Final = 10_000
BIG: Final = 999_999_999


class Measured:
    """A database whose transactions are timed, by what is done."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.what = ""
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.work: defaultdict[str, list[float]] = defaultdict(list)
        self._write = database.connections.write
        database.connections.write = self._timed  # type: ignore[method-assign]

    async def _timed(self, work: Any, **named: Any) -> Any:
        begun, worked = time.perf_counter(), time.process_time()
        try:
            return await self._write(work, **named)
        finally:
            self.times[self.what].append(1000 * (time.perf_counter() - begun))
            self.work[self.what].append(1000 * (time.process_time() - worked))

    async def all(self, what: str, step: Callable[[], Awaitable[int]], most: int = 200) -> None:
        self.what = what
        for _ in range(most):
            if not await step():
                return

    async def read(self, what: str, statement: Any) -> None:
        for _ in range(5):
            begun, worked = time.perf_counter(), time.process_time()
            await self.database.connections.rows(statement)
            self.times[f"read: {what}"].append(1000 * (time.perf_counter() - begun))
            self.work[f"read: {what}"].append(1000 * (time.process_time() - worked))

    def report(self) -> None:
        for what, times in self.times.items():
            ordered, work = sorted(times), statistics.median(self.work[what])
            tenth, middle = ordered[len(ordered) // 10], statistics.median(ordered)
            numbers = " ".join(f"{each:9.1f}" for each in (work, tenth, middle, ordered[-1]))
            print(f"{what:40} {len(times):6} {numbers}")  # noqa: T201


async def fill(database: Database, table: Table, filled: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(filled), ROWS_AT_ONCE):
        page = list(filled[start : start + ROWS_AT_ONCE])
        await database.connections.write(partial(put, table, page))


def put(table: Table, page: list[dict[str, Any]], connection: Connection) -> None:
    connection.execute(insert(table), page)


def chunk(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def images(database: Database, count: int) -> None:
    """Fill in manifests with layers of their own, spread over repositories."""
    named = [
        {"repository_id": row, "name": f"r/{row}", "namespace": "r", "public": False, "created": 1}
        for row in range(1, REPOSITORIES + 1)
    ]
    await fill(database, repositories, named)
    links = range(count * LINKS_EACH)
    await fill(database, chunks, [{"chunk": chunk(one), "length": 9} for one in links])
    made = [{"blob_id": one + 1, "digest": digest(one), "size": 9, "recipe": b"x"} for one in links]
    await fill(database, blobs, made)
    await fill(database, blob_chunks, [{"blob_id": one + 1, "chunk": chunk(one)} for one in links])
    place = [one // LINKS_EACH % REPOSITORIES + 1 for one in links]
    linked = [
        {"repository_id": place[one], "digest": digest(one), "blob_id": one + 1, "lease_until": 1.0}
        for one in links
    ]
    await fill(database, repository_blobs, linked)
    written = [row_of(one % REPOSITORIES + 1, one) for one in range(count)]
    await fill(database, manifests, written)
    referred = [
        {
            "repository_id": place[one],
            "manifest": digest(one // LINKS_EACH),
            "digest": digest(one),
            "kind": "blob",
        }
        for one in links
    ]
    await fill(database, manifest_references, referred)


def row_of(row_id: int, number: int, subject: str | None = None) -> dict[str, Any]:
    return {
        "repository_id": row_id,
        "digest": digest(number),
        "media_type": "x",
        "size": 9,
        "subject": subject,
        "annotations_bytes": 0,
        "pushed": 1.0,
        "annotations": "{}",
        "payload": b"x" * 1000,
    }


async def large(database: Database) -> None:
    numbers = range(BIG, BIG + LARGE)
    await fill(database, chunks, [{"chunk": chunk(one), "length": 9} for one in numbers])
    row = {"blob_id": BIG, "digest": "gone:999999999", "size": 9, "recipe": b"x"}
    await fill(database, blobs, [row])
    await fill(database, blob_chunks, [{"blob_id": BIG, "chunk": chunk(one)} for one in numbers])


async def measure(database: Database, scale: float) -> None:
    count = round(10_000 * scale)
    await images(database, count)
    if database.connections.answers_version() is None:
        await analyzed(database)
    done, collector = Measured(database), RowCollector(database.connections)
    change = database.connections.change
    await done.all(f"links: in use, {rows.LINKS_AT_ONCE}", collector.links)
    done.what = "set up"
    await change(text("UPDATE repository_blobs SET lease_until = -1"))
    await change(text("UPDATE manifests SET deleted = 1"))
    await change(text("UPDATE repository_blobs SET hidden = 1 WHERE repository_id = 1"))
    tags = [
        {**named, "name": f"t{one}", "updated": 1.0, "deleted": 1.0}
        for one in range(count)
        for named in [{"repository_id": one % REPOSITORIES + 1, "digest": digest(one)}]
    ]
    await fill(database, deleted_tags, tags)
    for name, statement in (
        ("due manifests, all", rows.DUE_MANIFESTS),
        ("due links, none", rows.DUE_LINKS),
        ("pushed again, none", adoption.PUSHED_AGAIN),
        ("leased again, none", adoption.LEASED_AGAIN),
        ("referred again, none", adoption.REFERRED_AGAIN),
        ("left behind, none", left_behind.LEFT_BEHIND),
    ):
        await done.read(name, statement)
    await done.all(f"deleted tags, {rows.TAGS_AT_ONCE}", collector.tags)
    await done.all(f"purge, {rows.MANIFESTS_AT_ONCE}", collector.purge)
    await done.all(f"links: gone, {rows.LINKS_AT_ONCE}", collector.links)
    await done.all("blobs of one chunk", collector.piece, 2)
    await change(text("DELETE FROM manifest_references"))
    await change(text("UPDATE repository_blobs SET lease_until = -1"))
    done.what = "slow pass"
    await collector.slow_pass()
    await change(text("DELETE FROM blobs WHERE digest LIKE 'gone:%'"))
    await large(database)
    await done.all(f"a blob of 10,000 chunks, {CHUNKS_AT_ONCE}", collector.piece)
    await change(text("UPDATE repositories SET deleted = 1"))
    done.what = "repositories"
    await collector.repository()
    await referrers(database, done)
    done.report()


async def analyzed(database: Database) -> None:
    for table in (manifests, manifest_references, repository_blobs, blobs, blob_chunks, chunks):
        await database.connections.change(text(f"ANALYZE {table.name}"))


async def referrers(database: Database, done: Measured) -> None:
    done.what = "set up"
    await database.settings.put(UNDELETE_SETTING, stored(7 * 86_400))
    made = manifest()
    await database.manifests.put("r/s", made, [], ["v"], now=1.0, actor=ACTOR)
    row = await database.connections.row(
        text("SELECT repository_id FROM repositories WHERE name = 'r/s'")
    )
    assert row is not None
    said = [row_of(row.repository_id, 10**9 + one, made.digest) for one in range(REFERRERS)]
    await fill(database, manifests, said)
    done.what = "delete, 10,000 referrers"
    await database.manifests.delete("r/s", made.digest, actor=ACTOR)
    done.what = "restore, 10,000 referrers"
    await Undelete(database.connections).manifest("r/s", made.digest, actor=ACTOR)


async def main(url: str, scale: float) -> None:
    """Measure it there."""
    database = open_database(url)
    await measure(database, scale)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))
