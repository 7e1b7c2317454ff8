"""The strip of partitions: runs that are all of it, and copies that count only where they are."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, build_table
from treescale.console.watch.partitions import copies_alive, homes_of, runs, tally

TABLE = build_table(Layout(1, tuple(StoreLabel(x, f"on-{x}", "") for x in "abcd"), 3))


@given(st.lists(st.integers(0, 3)))
def test_runs_are_the_whole_strip_and_as_few_as_can_be(values: list[int]) -> None:
    found = [*runs(values)]
    assert [run.value for run in found for _ in range(run.length)] == values
    assert [run.begin for run in found] == [
        sum(run.length for run in found[:place]) for place in range(len(found))
    ]
    assert all(one.value != other.value for one, other in pairwise(found))


@given(st.sets(st.sampled_from("abcd")))
def test_a_copy_counts_where_its_store_can_be_read(alive: set[str]) -> None:
    found = copies_alive(TABLE, alive)
    assert len(found) == PARTITIONS
    homes = homes_of(TABLE)
    assert sum(found) == sum(homes[name] for name in alive)
    assert max(found) <= 3
    assert sum(tally(found, 3)) == PARTITIONS


def test_a_copy_that_is_lacking_does_not_count() -> None:
    (number,) = [n for n, order in enumerate(TABLE.orders) if "a" in order[:3]][:1]
    whole = copies_alive(TABLE, "abcd")
    fewer = copies_alive(TABLE, "abcd", {"a": [number], "gone": [0]})
    assert whole == bytes([3]) * PARTITIONS
    assert [n for n, copies in enumerate(fewer) if copies < 3] == [number]
