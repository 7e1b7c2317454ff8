"""What the planner decides, for any partitions, names and layouts."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chunks.layouts import tables
from treescale.chunks.format.placement import PARTITIONS, Table
from treescale.chunks.store import partition_of
from treescale.maintenance.planning.planner import (
    BATCH_MAX,
    NAMES_MAX,
    batch_after,
    by_risk,
    plan,
    spans,
)

CHUNKS = st.integers(0, 9).map(lambda number: bytes([0, number]) + bytes(30))
NAMED = st.dictionaries(CHUNKS, st.integers(1, 9))
STORES = st.sampled_from(["a", "b", "c"])
IDS = st.binary(min_size=32, max_size=32)


@given(STORES, st.sets(STORES), st.sets(CHUNKS), NAMED)
def test_done_as_planned_nothing_is_left_to_do(
    me: str, homes: set[str], here: set[bytes], named: dict[bytes, int]
) -> None:
    due = plan(me, homes, here, named)
    after = (here | {chunk for chunk, _ in due.fetch}) - set(due.surplus)
    again = plan(me, homes, after, named)
    assert (again.fetch, again.surplus) == ((), ())
    assert again.unnamed == due.unnamed


@given(STORES, st.sets(STORES), st.sets(CHUNKS), NAMED)
def test_only_what_is_named_moves(
    me: str, homes: set[str], here: set[bytes], named: dict[bytes, int]
) -> None:
    due = plan(me, homes, here, named)
    fetched = dict(due.fetch)
    assert fetched.keys() <= named.keys() - here
    assert all(named[chunk] == length for chunk, length in due.fetch)
    assert set(due.surplus) | set(due.held) == here & named.keys()
    assert not set(due.surplus) & set(due.held)
    assert due.unnamed == len(here - named.keys())
    if me in homes:
        assert due.surplus == ()
        assert fetched.keys() == named.keys() - here
    else:
        assert (due.fetch, due.held) == ((), ())


@given(st.sets(st.integers(0, PARTITIONS - 1)), st.lists(IDS))
def test_spans_hold_just_these_partitions(partitions: set[int], chunks: list[bytes]) -> None:
    found = list(spans(partitions))
    edges = [(number << 4).to_bytes(2) + bytes(30) for number in partitions] + [
        ((number << 4) + 15).to_bytes(2) + b"\xff" * 30 for number in partitions
    ]
    for chunk in (*chunks, *edges):
        inside = [begin < chunk < end for begin, end in found]
        assert sum(inside) == (partition_of(chunk) in partitions)
    assert len(found) == sum(number - 1 not in partitions for number in partitions)


@given(st.integers(1, BATCH_MAX), st.integers(0, 10 * NAMES_MAX))
def test_a_batch_shrinks_while_there_are_too_many_names_and_never_to_nothing(
    batch: int, names: int
) -> None:
    after = batch_after(batch, names)
    assert 1 <= after <= BATCH_MAX
    assert (after < batch) == (names > NAMES_MAX and batch > 1)
    assert (after > batch) == (names < NAMES_MAX // 4 and batch < BATCH_MAX)


@given(tables(), tables(), st.data())
def test_those_with_the_fewest_copies_that_answer_come_first(
    new: Table, old: Table, data: st.DataObject
) -> None:
    names = sorted({label.store_id for each in (new, old) for label in each.layout.stores})
    down = data.draw(st.sets(st.sampled_from(names)))
    numbers = data.draw(st.sets(st.integers(0, 70)))

    def is_up(name: str) -> bool:
        return name not in down

    found = by_risk(numbers, (new, old), is_up)
    assert sorted(found) == sorted(numbers)
    # A new home has no copy yet: those of the layout before count.
    left = [len(set(old.orders[number][: old.copies]) - down) for number in found]
    assert left == sorted(left)
    assert by_risk(numbers, (new,), is_up) == sorted(
        numbers, key=lambda number: (len(set(new.orders[number][: new.copies]) - down), number)
    )
