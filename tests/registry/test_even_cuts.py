"""Layers that are a plain gzip stream: cut evenly after the probed bytes, by whichever worker."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import pytest

from tests.chunks.format.test_gzip_probe import PLAIN, SYNC
from tests.registry.test_push import (
    REPOSITORY,
    Body,
    CountingStore,
    database,
    pieces_of,
    store,
    stored,
    threads,
    worker,
)
from treescale.chunks.format.gzip_probe import PROBE_BYTES, GzipProbe
from treescale.chunks.format.recipe import decode
from treescale.chunks.format.split import DEFAULT, FIXED_BYTES, Splitter
from treescale.metadata.database import Database
from treescale.oci.digest import Digest, digest_of
from treescale.registry.push import Pushes

__all__ = ["database", "store", "threads"]  # fixtures

LAYER = PLAIN + PLAIN[10 : 5 * 2**20]


async def pushed(workers: Sequence[Pushes], layer: bytes, sizes: Sequence[int]) -> Digest:
    """Push the layer in requests of these sizes and the rest, each to the next worker."""
    upload_id = (await workers[0].begin(REPOSITORY, "alice")).upload_id
    for number, piece in enumerate(pieces_of(layer, sizes)):
        one = workers[number % len(workers)]
        await one.append(REPOSITORY, "alice", upload_id, Body(piece), at=None)
    digest = digest_of(layer)
    await workers[-1].finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    return digest


async def lengths(database: Database, digest: Digest) -> list[int]:
    blob = await database.blobs.find(REPOSITORY, str(digest))
    assert blob.recipe is not None
    recipe = decode(blob.recipe)
    assert recipe.parameters == DEFAULT
    return [length for _, length in recipe.parts]


def by_content(layer: bytes) -> list[int]:
    splitter = Splitter()
    return [*map(len, splitter.cut(memoryview(layer))), len(layer) - splitter.start]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("sizes", [[], [9_000_000], [8_000_000, 600_000, 1, 3_000_000]])
async def test_cuts_are_even_after_the_probed_bytes(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    workers: int,
    sizes: list[int],
) -> None:
    several = [worker(database, store, threads) for _ in range(workers)]
    digest = await pushed(several, LAYER, sizes)
    assert await stored(database, store, digest) == LAYER
    found, expected = await lengths(database, digest), by_content(LAYER)
    probed = sum(end < PROBE_BYTES for end in accumulate(expected)) + 1
    assert found[:probed] == expected[:probed]
    *even, last = found[probed:]
    assert set(even) == {FIXED_BYTES}
    assert last <= FIXED_BYTES


async def test_a_sync_point_has_content_decide(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    layer = LAYER[:1_000_000] + SYNC + LAYER[1_000_000:]
    digest = await pushed([worker(database, store, threads)], layer, [9_000_000])
    assert await lengths(database, digest) == by_content(layer)


async def test_a_server_that_cuts_by_content_may_take_some_of_the_bytes(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one of version 0.1.0 does beside ours."""
    ours, older = (worker(database, store, threads) for _ in range(2))
    upload_id = (await ours.begin(REPOSITORY, "alice")).upload_id
    first, second, third = pieces_of(LAYER, [9_500_000, 2_000_000])
    await ours.append(REPOSITORY, "alice", upload_id, Body(first), at=None)
    with monkeypatch.context() as patched:
        patched.setattr(GzipProbe, "is_plain", False)
        await older.append(REPOSITORY, "alice", upload_id, Body(second), at=None)
    await ours.append(REPOSITORY, "alice", upload_id, Body(third), at=None)
    digest = digest_of(LAYER)
    await older.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    assert await stored(database, store, digest) == LAYER
