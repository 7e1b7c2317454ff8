"""What would be lost with a store."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table, build_table
from treescale.cluster.data_loss import MissingCopies, Placing, layouts_in_use, loss
from treescale.metadata.records import LayoutRecord, LayoutStore

NOTHING_OWED = MissingCopies({}, complete=True)
OUT_OF_MIND = 1e12


def table(names: str, copies: int, number: int = 1) -> Table:
    labels = tuple(StoreLabel(name, f"on-{name}", "") for name in names)
    return build_table(Layout(number, labels, copies))


def record(number: int, names: str, copies: int, created: float = 0.0) -> LayoutRecord:
    stores = tuple(LayoutStore(name, f"on-{name}", "", 1.0) for name in names)
    return LayoutRecord(number, stores, copies, created)


def since(first_push: float | None) -> Placing:
    """Return what is known of chunks that an older version placed, too."""
    return Placing(None, first_push)


def numbers(layouts: Iterable[LayoutRecord]) -> list[int]:
    return [each.number for each in layouts]


THREE = table("abc", 2)


def test_with_two_copies_one_store_may_go_and_two_may_not() -> None:
    assert not loss({"a"}, [THREE], "abc", NOTHING_OWED)
    would = loss({"a", "b"}, [THREE], "abc", NOTHING_OWED)
    assert [number for number, _ in would.shares] == [1]
    assert 0.3 < would.shares[0][1] < 0.37


def test_with_one_copy_a_store_has_its_share_alone() -> None:
    assert 0.3 < loss({"a"}, [table("abc", 1)], "abc", NOTHING_OWED).shares[0][1] < 0.37


def test_a_store_forgotten_before_has_no_copies_any_more() -> None:
    assert loss({"a"}, [THREE], "ac", NOTHING_OWED)


def test_what_an_older_layout_placed_lies_there_still() -> None:
    older = table("a", 1, number=3)
    now = table("bc", 2, number=4)
    assert loss({"a"}, [now, older], "abc", NOTHING_OWED).shares == ((3, 1.0),)


def test_copies_that_others_are_owed_make_the_rest_precious() -> None:
    chunk = next(c for n in range(4096) if set(THREE.homes(c := _chunk(n))) == {"a", "b"})
    assert loss({"a"}, [THREE], "abc", MissingCopies({chunk: {"b"}}, complete=True)).owed == 1
    assert not loss({"c"}, [THREE], "abc", MissingCopies({chunk: {"b"}}, complete=True))


def test_more_debts_than_were_read_are_a_doubt() -> None:
    assert loss({"a"}, [THREE], "abc", MissingCopies({}, complete=False))


@settings(max_examples=examples(20), deadline=None)
@given(leaving=st.sets(st.sampled_from("abcde")), copies=st.integers(1, 4))
def test_nothing_is_lost_exactly_while_fewer_leave_than_there_are_copies(
    leaving: set[str], copies: int
) -> None:
    would = loss(leaving, [table("abcde", copies)], "abcde", NOTHING_OWED)
    assert bool(would) == (len(leaving) >= copies)
    if len(leaving) == 5:
        assert would.shares[0][1] == 1.0


def test_layouts_under_which_nothing_was_pushed_are_passed_over() -> None:
    layouts = [record(1, "a", 1, 0.0), record(2, "ab", 2, 100.0), record(3, "abc", 3, 200.0)]
    assert numbers(layouts_in_use(layouts, "abc", since(1000.0))) == [3]
    # 60 s for clocks that are apart.
    assert numbers(layouts_in_use(layouts, "abc", since(250.0))) == [3, 2]
    assert numbers(layouts_in_use(layouts, "abc", since(90.0))) == [3, 2, 1]
    assert layouts_in_use(layouts, "abc", since(None)) == ()


def test_where_it_was_noted_the_layouts_are_known_that_placed_anything() -> None:
    layouts = [record(1, "a", 1, 0.0), record(2, "ab", 2, 1.0), record(3, "abc", 3, 2.0)]
    for oldest, found in ((0, []), (1, [3, 2, 1]), (2, [3, 2]), (3, [3])):
        assert numbers(layouts_in_use(layouts, "abc", Placing(oldest, 0.0))) == found
    assert layouts_in_use(layouts, "abc", Placing(2, None)) == ()


def test_layouts_that_place_alike_are_weighed_once_and_those_with_fewer_copies_too() -> None:
    layouts = [record(n, "ab" if n % 2 else "abx", 1 + n // 4) for n in range(1, 8)]
    found = layouts_in_use(layouts, "ab", since(-OUT_OF_MIND))
    assert [(each.number, each.copies) for each in found] == [(7, 2), (6, 2), (3, 1), (2, 1)]
    assert layouts_in_use([record(1, "x", 1)], "ab", since(0.0)) == ()


def test_what_a_forgotten_store_had_is_on_fewer_stores_for_good() -> None:
    """The layout before it was forgotten places like the present one, and left fewer copies."""
    layouts = [record(1, "abc", 2), record(2, "ab", 2)]
    tables = [table("abc" if each.number == 1 else "ab", 2, each.number) for each in layouts]
    found = layouts_in_use(layouts, "ab", since(0.0))
    assert numbers(found) == [2, 1]
    assert [number for number, _ in loss({"a"}, tables, "ab", NOTHING_OWED).shares] == [1]


def test_only_so_many_layouts_are_weighed() -> None:
    layouts = [record(n, "ab", n) for n in range(1, 40)]
    assert numbers(layouts_in_use(layouts, "ab", since(-OUT_OF_MIND))) == list(range(39, 23, -1))


def _chunk(partition: int) -> bytes:
    assert partition < PARTITIONS
    return (partition << 4).to_bytes(2, "big") + bytes(30)
