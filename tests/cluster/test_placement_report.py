"""Where chunks belong."""

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.test_data_loss import table
from tests.examples import examples
from treescale.cluster.placement_report import all_uncounted, placement_report, uncounted

NOW = table("abcd", 2, number=2)
BEFORE = table("abx", 2, number=1)


@settings(max_examples=examples(30), deadline=None)
@given(sizes=st.lists(st.integers(1, 4_000_000), max_size=200))
def test_every_copy_is_counted_where_placement_puts_it(sizes: list[int]) -> None:
    chunks = {blake3(str(n).encode()).digest(): size for n, size in enumerate(sizes)}
    owed = {"a": set(list(chunks)[:3]) | {b"another"}}
    found = {
        place.store_id: place for place in placement_report(chunks, [NOW, BEFORE], "abcd", owed)
    }
    assert found.keys() <= set("abcd")
    assert sum(place.chunks for place in found.values()) == 2 * len(chunks)
    assert sum(place.bytes for place in found.values()) == 2 * sum(chunks.values())
    for name, place in found.items():
        homed = [chunk for chunk in chunks if name in NOW.homes(chunk)]
        moved = [c for c in chunks if name in BEFORE.homes(c) and name not in NOW.homes(c)]
        assert (place.chunks, place.bytes) == (len(homed), sum(chunks[c] for c in homed))
        assert (place.earlier_chunks, place.earlier_bytes) == (
            len(moved),
            sum(chunks[c] for c in moved),
        )
        assert place.owed == (min(3, len(chunks)) if name == "a" else 0)


def test_a_home_that_was_none_before_may_lack_what_was_placed_then() -> None:
    found = uncounted(NOW, [BEFORE])
    for partition, homes in enumerate(found.homes):
        now = set(NOW.orders[partition][:2])
        assert homes == now - set(BEFORE.orders[partition][:2])
    assert 0 < found.partitions < 4096
    assert found.partitions_of("c") == sum("c" in NOW.orders[p][:2] for p in range(4096))
    assert found.partitions_of("x") == 0, "it is no home now"
    assert uncounted(NOW, [NOW]).partitions == uncounted(NOW, []).partitions == 0


def test_fewer_copies_of_the_same_stores_are_all_known() -> None:
    assert uncounted(table("abc", 2), [table("abc", 3)]).partitions == 0
    assert uncounted(table("abc", 3), [table("abc", 2)]).partitions == 4096


def test_places_say_what_nobody_knows_of_them() -> None:
    chunks = {blake3(str(n).encode()).digest(): 1 for n in range(50)}
    unsure = uncounted(NOW, [BEFORE])
    found = {each.store_id: each for each in placement_report(chunks, [NOW], "abcd", {}, unsure)}
    assert found["c"].uncounted == found["c"].chunks
    assert 0 < found["a"].uncounted + found["b"].uncounted < found["a"].chunks + found["b"].chunks
    assert all(not each.uncounted for each in placement_report(chunks, [NOW], "abcd", {}))
    assert all_uncounted("ac").partitions == all_uncounted("ac").partitions_of("c") == 4096
    assert not all_uncounted("ac").exact


def test_before_the_first_layout_nothing_belongs_anywhere() -> None:
    assert placement_report({b"\x00" * 32: 1}, [], "ab", {}) == ()
