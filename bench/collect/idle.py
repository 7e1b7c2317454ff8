"""A cycle that finds nothing, by how many blobs and chunk rows there are, on both databases.

Each blob has ten chunks, a manifest that refers to it, and a link whose lease has been looked at.
Of the copies' cycle, which lists the names on a disk and asks the rows, `--walk` has the figure.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.collect.stores import migrated
from bench.rows import Effort, Row, at_most
from tests.postgres import running_postgres
from treescale.log import log_errors_only
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.database import opened

CHUNKS_OF_BLOB: Final = 10
CYCLE_MS_MAX: Final = 50
"""As long as collection may hold anything; it looks once a minute."""
TIMES: Final = 10
NUMBERS: Final = """WITH RECURSIVE numbers (n) AS
    (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {blobs}) """
FILL: Final = (
    """INSERT INTO repositories (repository_id, name, namespace, public, created)
       VALUES (1, 'bench/app', 'bench', false, 0)""",
    """INSERT INTO blobs (blob_id, digest, size, recipe)
       SELECT n, 'sha256:' || n, 1, {recipe} FROM numbers""",
    """INSERT INTO manifests (repository_id, digest, media_type, size, payload, pushed,
                              annotations, annotations_bytes)
       SELECT 1, 'sha256-' || n, 'x', 1, {recipe}, 0, '', 0 FROM numbers""",
    """INSERT INTO repository_blobs (repository_id, digest, blob_id, lease_until)
       SELECT 1, 'sha256:' || n, n, -1 FROM numbers""",
    """INSERT INTO manifest_references (repository_id, manifest, digest, kind)
       SELECT 1, 'sha256-' || n, 'sha256:' || n, 'blob' FROM numbers""",
    """INSERT INTO chunks (chunk, length)
       SELECT {chunk}, 1 FROM numbers, (SELECT n AS k FROM numbers WHERE n <= {each}) AS few""",
    """INSERT INTO blob_chunks (blob_id, chunk)
       SELECT n, {chunk} FROM numbers, (SELECT n AS k FROM numbers WHERE n <= {each}) AS few""",
)
QUICK: Final = ("PRAGMA synchronous=OFF", f"PRAGMA cache_size=-{4 << 20}", "BEGIN")
"""What has SQLite filled at once, in 4 GiB of memory: the keys come in no order."""
SQLITE: Final = {
    "recipe": "x'00'",
    "chunk": "CAST(printf('%08x%012d%012d', (n * 11 + k) * 2654435761 % 4294967296, n, k) AS BLOB)",
    "each": CHUNKS_OF_BLOB,
}
POSTGRES: Final = {
    "recipe": "'\\x00'::bytea",
    "chunk": "decode(md5(n || '/' || k) || md5(k || '/' || n), 'hex')",
    "each": CHUNKS_OF_BLOB,
}


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure on SQLite, then on PostgreSQL, with `--chunks` rows in all."""
    log_errors_only()
    url = migrated(f"sqlite:///{root / 'treescale.db'}")
    fill(root / "treescale.db", effort.chunks)
    rows = _rows("SQLite", effort, asyncio.run(_measured(url)))
    with running_postgres() as server:
        asyncio.run(server.execute("postgres", "CREATE DATABASE idle TEMPLATE template0"))
        url = migrated(server.url("idle"))
        asyncio.run(server.execute("idle", *_filling(effort.chunks, POSTGRES), "ANALYZE"))
        found = asyncio.run(_measured(url))
    return [*rows, *_rows("PostgreSQL", effort, found)]


def _rows(engine: str, effort: Effort, found: dict[str, list[float]]) -> list[Row]:
    blobs = effort.chunks // CHUNKS_OF_BLOB
    name = f"rows' cycle that finds nothing, {engine}, {blobs:,} blobs, {effort.chunks:,} chunks"
    return [
        Row(name, "ms", at_most(CYCLE_MS_MAX), [each * 1000 for each in found["cycle"]], digits=1),
        Row("… the daily pass over all rows", "s", None, found["slow"], digits=1),
    ]


def fill(database: Path, chunks: int) -> None:
    """Have so many rows of chunks, and a tenth of blobs, in a SQLite file that has its tables."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in (*QUICK, *_filling(chunks, SQLITE), "COMMIT"):
            connection.execute(statement)


def _filling(chunks: int, words: dict[str, object]) -> list[str]:
    """Return the statements that make all rows."""
    numbers, found = NUMBERS.format(blobs=chunks // CHUNKS_OF_BLOB), list[str]()
    for each in FILL:
        head, select, rest = each.format(**words).partition("SELECT")
        found.append(head + numbers + select + rest if select else head)
    return found


async def _measured(url: str) -> dict[str, list[float]]:
    async with opened(url) as database:
        collector = RowCollector(database.connections)
        cycles = [await _timed(collector.cycle) for _ in range(TIMES)]
        return {"cycle": cycles, "slow": [await _timed(collector.slow_pass)]}


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began
