"""Some hundreds of clusters whose servers walk: nothing is lost, and in the end all is whole.

A failure names its seed and what happened; `SIMULATION_SEED=…` runs that one alone, and
`SIMULATION_SEEDS=…` so many of them.
"""

import os
from collections.abc import Callable, Iterable, Sequence

import pytest

from tests.simulation.copies import CopyStore, Here, Way
from tests.simulation.walking import WalkWorld, lived
from tests.simulation.world import Broken
from treescale.chunks.store import Bytes
from treescale.maintenance.homes import Homes

pytestmark = pytest.mark.early
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "64"))
ONLY = os.environ.get("SIMULATION_SEED")
PARTS = 8
SEEDS_TO_CATCH = 300
"""A broken protection must show within so many seeds."""


def live_all(seeds: Iterable[int]) -> None:
    for seed in seeds:
        lived(seed)


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_and_all_is_whole_in_the_end(part: int) -> None:
    live_all(range(part, SEEDS, PARTS) if ONLY is None else [int(ONLY)])


def test_a_seed_is_the_same_each_time() -> None:
    assert lived(5).trace == lived(5).trace


@pytest.mark.long
def test_much_of_what_can_happen_happens() -> None:
    trace = "\n".join(line for seed in range(12) for line in lived(seed).trace)
    for event in (
        "trims",
        "layout 2",
        "layout 3",
        "is wiped",
        "rot",
        "walker was stopped",
        "DatabaseUnavailable",
        "owed to ('",
    ):
        assert event in trace, event


def keep_renews_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CopyStore, "renew", lambda self, chunk: None)  # noqa: ARG005


def any_stamp_will_do(patch: pytest.MonkeyPatch) -> None:
    def trim(self: CopyStore, chunk: bytes, stamp: int) -> bool:  # noqa: ARG001
        return self.copies.pop(chunk, None) is not None

    patch.setattr(CopyStore, "trim", trim)


def one_home_says_that_it_has_it(patch: pytest.MonkeyPatch) -> None:
    async def kept_by(self: Homes, homes: Sequence[str], chunks: Sequence[bytes]) -> set[bytes]:
        way = self._cluster.way_to(homes[0])
        assert way is not None
        has = await way.have(chunks)
        return {chunk for chunk, yes in zip(chunks, has, strict=True) if yes}

    patch.setattr(Homes, "kept_by", kept_by)


def bytes_are_written_as_they_come(patch: pytest.MonkeyPatch) -> None:
    get = Way.get

    async def garbled(self: Way, chunk: bytes) -> bytes:
        data = await get(self, chunk)
        return data[:-1] if next(self.store.moments) % 7 == 0 else data

    async def put(self: Here, chunk: bytes, data: Bytes) -> None:
        self.store.write(chunk, bytes(data))

    patch.setattr(Way, "get", garbled)
    patch.setattr(Here, "put", put)


@pytest.mark.parametrize(
    ("spoil", "soonest"),
    [
        pytest.param(keep_renews_nothing, 0, marks=pytest.mark.long),
        (any_stamp_will_do, 7),
        (one_home_says_that_it_has_it, 19),
        (bytes_are_written_as_they_come, 5),
    ],
)
def test_a_protection_that_is_switched_off_is_noticed(
    spoil: Callable[[pytest.MonkeyPatch], None], soonest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begins with the seed that is known to show it; any of the others would do."""
    spoil(monkeypatch)
    monkeypatch.setattr(WalkWorld, "looks_at_homes", False)
    with pytest.raises(Broken, match="is lost"):
        live_all([soonest, *range(SEEDS_TO_CATCH)])
