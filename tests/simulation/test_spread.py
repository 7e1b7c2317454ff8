"""Some hundreds of clusters, each from a seed: what was acknowledged is there, whatever failed.

A failure names its seed and what happened; `SIMULATION_SEED=…` runs that one alone, and
`SIMULATION_SEEDS=…` so many of them.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from tests.fakes_store import FaultyStore
from tests.simulation.world import Broken, World
from tests.virtualtime import virtually
from treescale.chunks.format import failure_domains
from treescale.chunks.format.failure_domains import FailureDomains
from treescale.chunks.format.placement import Table
from treescale.chunks.replication import read, store
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.replication.write_plan import WritePlan
from treescale.chunks.store import ChunkStore, WriteResult

pytestmark = pytest.mark.early
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))
ONLY = os.environ.get("SIMULATION_SEED")
SEEDS_TO_CATCH = 60
"""A broken protection must show within so many seeds."""


def lived(seed: int) -> World:
    async def live() -> World:
        world = World(seed)
        await world.run()
        return world

    try:
        return virtually(live)
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None


def live_all(seeds: Iterable[int]) -> None:
    for seed in seeds:
        lived(seed)


def first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def test_promises_are_kept_whatever_fails() -> None:
    live_all(range(SEEDS) if ONLY is None else [int(ONLY)])


def test_a_seed_is_the_same_each_time() -> None:
    assert lived(5).trace == lived(5).trace


@pytest.mark.long
def test_much_of_what_can_happen_happens() -> None:
    trace = "\n".join(line for seed in range(40) for line in lived(seed).trace)
    for event in (
        "NotEnoughStores",
        "StoreFull",
        "layout 2",
        "layout 3",
        "Corrupt",
        "ChunkUnknown",
    ):
        assert event in trace


def copies_count_instead_of_domains(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        FailureDomains, "reach_quorum", lambda self, names: len(set(names)) >= self.quorum
    )


def one_copy_suffices(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(failure_domains, "WRITE_QUORUM_MAX", 1)


def debts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = WritePlan.placed

    def placed(plan: WritePlan) -> WriteResult:
        return replace(right(plan), owed=())

    patch.setattr(WritePlan, "placed", placed)


def no_handoffs(patch: pytest.MonkeyPatch) -> None:
    right = WritePlan._left

    def left(plan: WritePlan, names: Iterable[str]) -> Iterable[str]:
        return (name for name in right(plan, names) if name in plan.homes)

    patch.setattr(WritePlan, "_left", left)


def stores_told_down_are_never_asked(patch: pytest.MonkeyPatch) -> None:
    async def remaining(_: read.ChunkRead) -> list[str]:
        return []

    patch.setattr(read.ChunkRead, "_remaining", remaining)


def nobody_is_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(read, "LATE_SECONDS_MAX", 1000)
    patch.setattr(store, "LATE_SECONDS_MAX", 1000)


def nothing_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(read, "REQUEST_SECONDS_MAX", 1000)


def older_layouts_are_not_read(patch: pytest.MonkeyPatch) -> None:
    right = ReplicatedStore.use_layout

    def use_layout(
        store: ReplicatedStore, table: Table, _: Sequence[Table], stores: Mapping[str, ChunkStore]
    ) -> None:
        named = {label.store_id for label in table.layout.stores}
        right(store, table, [], {name: x for name, x in stores.items() if name in named})

    patch.setattr(ReplicatedStore, "use_layout", use_layout)


def stores_do_not_verify(patch: pytest.MonkeyPatch) -> None:
    right = FaultyStore.get

    async def get(store: FaultyStore, chunk: bytes) -> bytes:
        if chunk in store.is_.rotten:
            return b"rotten"
        return await right(store, chunk)

    patch.setattr(FaultyStore, "get", get)


@pytest.mark.parametrize(
    ("switch_off", "message"),
    [
        (copies_count_instead_of_domains, "acknowledged too early"),
        (one_copy_suffices, "acknowledged too early"),
        (debts_are_forgotten, "a debt was forgotten"),
        (no_handoffs, "was refused though"),
        (stores_told_down_are_never_asked, "could have been read|was given up"),
        (nobody_is_late, "could have been read|could take it|was given up"),
        (nothing_ends, "took too long"),
        (older_layouts_are_not_read, "could have been read|was given up"),
        (stores_do_not_verify, "wrong bytes"),
    ],
)
def test_what_is_switched_off_is_missed(
    switch_off: Callable[[pytest.MonkeyPatch], None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_off(monkeypatch)
    with pytest.raises(Broken, match=message):
        live_all(range(SEEDS_TO_CATCH))
