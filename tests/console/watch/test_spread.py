"""An image across the cluster: cells hold every chunk, and who survives what is the truth."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.format.placement import Layout, StoreLabel, build_table
from treescale.console.watch.spread import CELLS_MAX, Cell, Facts, cell_size, spread_of

SERVERS: Mapping[str, str] = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
TABLE = build_table(
    Layout(1, tuple(StoreLabel(name, server, "") for name, server in SERVERS.items()), 2)
)
CHUNKS = st.lists(st.binary(min_size=32, max_size=32), unique=True, max_size=40)
STORES = st.sets(st.sampled_from("abcd"))


@given(st.integers(0, 10**7))
def test_there_are_never_more_cells_than_a_picture_has_room_for(chunks: int) -> None:
    assert -(-chunks // cell_size(chunks)) <= CELLS_MAX
    assert cell_size(chunks) == 1 or chunks > CELLS_MAX


@given(CHUNKS, STORES, STORES, st.data())
def test_who_may_die_is_who_is_not_needed(
    chunks: list[bytes], alive: set[str], debtors: set[str], data: st.DataObject
) -> None:
    some = st.lists(st.sampled_from(chunks)) if chunks else st.just([])
    owed = {name: set(data.draw(some)) for name in debtors}
    found = spread_of(chunks, Facts(TABLE, alive, owed, frozenset()), SERVERS)

    def readable(left: set[str]) -> int:
        return sum(
            any(x in left and chunk not in owed.get(x, ()) for x in TABLE.homes(chunk))
            for chunk in chunks
        )

    assert found.unreadable == len(chunks) - readable(alive)
    for server, lost in found.without.items():
        left = {name for name in alive if SERVERS[name] != server}
        assert readable(alive) - readable(left) == lost
    assert found.may_die == sorted(name for name, lost in found.without.items() if not lost)
    assert sum(one.total() for one in found.counts.values()) == 2 * len(chunks)


def test_a_cell_shows_the_worst_of_its_chunks() -> None:
    chunks = [bytes([number]) * 32 for number in range(4)]
    first, second = TABLE.homes(chunks[1])
    facts = Facts(TABLE, {*SERVERS} - {second}, {first: {chunks[1]}}, frozenset({chunks[2]}))
    rows = spread_of(chunks, facts, SERVERS).rows
    assert (rows[first][1], rows[second][1]) == (Cell.OWED, Cell.AWAY)
    assert all(rows[name][2] is Cell.LOST for name in TABLE.homes(chunks[2]))
    many = [number.to_bytes(2) + bytes(30) for number in range(2 * CELLS_MAX)]
    owed = {name: {many[7]} for name in SERVERS}
    cells = spread_of(many, Facts(TABLE, {*SERVERS}, owed, frozenset()), SERVERS).rows
    assert all(cells[name][3] is Cell.OWED for name in TABLE.homes(many[7]))
    assert {len(row) for row in cells.values()} == {CELLS_MAX}
