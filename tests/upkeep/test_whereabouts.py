"""Where chunks belong."""

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.upkeep.test_losses import table
from treescale.upkeep.whereabouts import places

NOW = table("abcd", 2, number=2)
BEFORE = table("abx", 2, number=1)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 4_000_000), max_size=200))
def test_every_copy_is_counted_where_placement_puts_it(sizes: list[int]) -> None:
    chunks = {blake3(str(n).encode()).digest(): size for n, size in enumerate(sizes)}
    owed = {"a": set(list(chunks)[:3]) | {b"another"}}
    found = {place.store_id: place for place in places(chunks, [NOW, BEFORE], "abcd", owed)}
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


def test_before_the_first_layout_nothing_belongs_anywhere() -> None:
    assert places({b"\x00" * 32: 1}, [], "ab", {}) == ()
