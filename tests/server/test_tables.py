"""Placement tables are built once, and beside the event loop."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.metadata.records import LayoutRecord, LayoutStore
from treescale.server.data import tables as tables_module
from treescale.server.data.tables import Tables, in_use


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def layout(number: int, stores: int = 3) -> Layout:
    labels = (StoreLabel(f"s{one}", f"server{one}", "") for one in range(stores))
    return Layout(number, tuple(labels), 2)


class Building:
    """Builds when it is told to; counts."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.built: list[tuple[int, int]] = []

    def __call__(self, wanted: Layout) -> Table:
        self.go.wait()
        self.built.append((wanted.number, threading.get_ident()))
        return build_table(wanted)


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> Iterator[Building]:
    building = Building()
    monkeypatch.setattr(tables_module, "build_table", building)
    yield building
    building.go.set()


async def test_the_loop_goes_on_while_a_table_is_built(
    building: Building, threads: ThreadPoolExecutor
) -> None:
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(Tables().of([layout(1)], threads))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        building.go.set()
    assert [table.layout for table in asked.result()] == [layout(1)]
    assert threading.get_ident() not in [thread for _, thread in building.built]


async def test_a_build_that_was_left_goes_on_and_is_found_again(
    building: Building, threads: ThreadPoolExecutor
) -> None:
    tables = Tables()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await tables.of([layout(1)], threads)
    building.go.set()
    await tables.of([layout(1)], threads)
    assert [number for number, _ in building.built] == [1]


async def test_what_was_built_before_is_not_built_again_and_what_is_not_used_is_let_go(
    building: Building, threads: ThreadPoolExecutor
) -> None:
    building.go.set()
    shared = Tables().build([layout(1), layout(2)])
    tables = Tables(shared)
    assert [x.layout.number for x in await tables.of([layout(2), layout(1)], threads)] == [2, 1]
    await tables.of([layout(2)], threads)
    await tables.of([layout(2), layout(1)], threads)
    assert [number for number, _ in building.built] == [1, 2, 1]
    assert Tables(shared).build([layout(1)]) == shared
    other = layout(1, stores=4)
    assert (await Tables(shared).of([other], threads))[0].layout == other


async def test_a_build_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    tables = Tables()

    def fail(_: Layout) -> Table:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(tables_module, "build_table", fail)
        with pytest.raises(MemoryError):
            await tables.of([layout(1)], threads)
    assert len(await tables.of([layout(1)], threads)) == 1


def test_layouts_in_use_begin_with_the_one_in_force() -> None:
    def record(number: int, *stores: str) -> LayoutRecord:
        return LayoutRecord(number, tuple(LayoutStore(x, x, "", 1.0) for x in stores), 1, 0.0)

    records = [record(3, "gone"), record(2, "a", "gone"), record(1, "a")]
    assert [one.number for one in in_use(records, {"a"})] == [3, 2]
    assert [one.number for one in in_use(records[:1], set())] == [3]
    assert in_use([], set()) == []
