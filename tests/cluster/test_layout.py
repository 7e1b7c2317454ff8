"""Who is in the layout: joins at once, patience with the silent, and what is never done."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.cluster import BEAT, BEGIN, Cluster, row
from tests.examples import examples
from tests.tables import each_row
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.cluster import layout as members
from treescale.cluster.layout import (
    Blocked,
    Desired,
    Observed,
    copies_asked,
    layout_of,
    next_layout,
    readable_layouts,
    record_of,
    wanted_copies,
)
from treescale.cluster.liveness import LIVE_SECONDS, WATCH
from treescale.errors import SettingInvalid
from treescale.metadata.records import StoreRecord
from treescale.metadata.records import StoreState as State

GRACE = members.GRACE_SECONDS
FIVE = tuple(row(name) for name in "abcde")


def layout_of_names(number: int, names: str, copies: int = 2) -> Layout:
    return Layout(number, tuple(StoreLabel(name, f"on-{name}", "") for name in names), copies)


def test_the_first_store_makes_the_first_layout() -> None:
    cluster = Cluster.of(row("a"))
    assert cluster.layout == Layout(1, (StoreLabel("a", "on-a", "", 1.0),), 1)


def test_no_store_no_layout() -> None:
    assert next_layout(Observed(None, (), WATCH, BEGIN), Desired()).layout is None


def test_a_store_joins_at_once_and_copies_grow_with_the_servers() -> None:
    cluster = Cluster.of(row("a"))
    for count, name in enumerate("bcde", 2):
        cluster.stores[name] = row(name)
        cluster.turn(cluster.stores)
        assert cluster.layout is not None
        assert (cluster.layout.number, cluster.members[-1]) == (count, name)
        assert cluster.layout.copies == min(count, 3)


def test_a_store_nobody_hears_of_does_not_join() -> None:
    cluster = Cluster.of(row("a"))
    cluster.stores["b"] = replace(row("b"), seen=BEGIN - LIVE_SECONDS - 1)
    assert cluster.turn("a").layout is None
    assert cluster.turn("ab").layout is not None


def test_labels_that_change_make_a_layout() -> None:
    cluster = Cluster.of(*FIVE)
    for change in ({"zone": "east"}, {"weight": 2.0}, {"server_id": "other"}):
        cluster.stores["b"] = replace(cluster.stores["b"], **change)
        assert cluster.turn("abcde").layout is not None
    cluster.stores["b"] = replace(
        cluster.stores["b"], path="/moved", server="renamed", bytes_free=1, trouble="x"
    )
    assert cluster.turn("abcde").layout is None


def test_a_row_older_than_server_ids_stands_on_its_machine() -> None:
    old = StoreRecord("a", "host", "/a", "", 1.0, BEGIN, seen=BEGIN)
    cluster = Cluster.of(old, replace(old, store_id="b"))
    assert cluster.layout is not None
    assert {label.server for label in cluster.layout.stores} == {"host"}
    assert cluster.layout.copies == 1, "one server"


def test_a_silent_store_stays_for_the_grace_period_and_then_leaves() -> None:
    cluster = Cluster.of(*FIVE)
    cluster.pass_time(GRACE, "abcd")
    assert cluster.members == list("abcde")
    cluster.pass_time(BEAT, "abcd")
    assert cluster.members == list("abcd")
    cluster.pass_time(GRACE, "abcd")
    assert len(cluster.layouts) == 2


def test_the_grace_period_can_be_set() -> None:
    cluster = Cluster.of(*FIVE, wish=Desired(grace_seconds=10))
    cluster.pass_time(15, "abcd")
    assert cluster.members == list("abcd")
    cluster.pass_time(100, "abcd")
    assert len(cluster.layouts) == 2, "nor does it join again because it was alive lately"


def test_a_store_that_comes_back_joins_again() -> None:
    cluster = Cluster.of(*FIVE)
    cluster.pass_time(GRACE + BEAT, "abcd")
    cluster.turn("abcde")
    assert cluster.members == list("abcde")


def test_a_flapping_store_changes_nothing() -> None:
    cluster = Cluster.of(*FIVE)
    for _ in range(1000):
        cluster.monotonic += 2
        cluster.turn("abcd")
        cluster.monotonic += 2
        cluster.turn("abcde")
    assert len(cluster.layouts) == 1


def test_the_stores_of_a_dead_server_leave_together() -> None:
    cluster = Cluster.of(*(row(f"{server}{disk}", server) for server in "abc" for disk in "123"))
    alive = [name for name in cluster.stores if name[0] != "b"]
    cluster.pass_time(GRACE + BEAT, alive)
    assert cluster.members == alive
    assert cluster.layout is not None
    assert cluster.layout.copies == 3, "what was promised is not lowered because a server died"
    assert len(cluster.layouts) == 2


def test_stores_stay_while_too_few_are_in() -> None:
    names = "abcdefghij"
    cluster = Cluster.of(*map(row, names))
    decision = cluster.pass_time(GRACE + BEAT, "abcd")
    assert len(cluster.members) == 7, "the seventh is the first below three quarters"
    assert set(decision.held.values()) == {Blocked.TOO_FEW_IN}
    assert len(decision.held) == 3
    cluster.pass_time(10 * GRACE, "abcd")
    assert len(cluster.layouts) == 2


def test_the_guard_is_what_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(members, "IN_RATIO_MIN", 0.0)
    cluster = Cluster.of(*map(row, "abcdefghij"))
    cluster.pass_time(GRACE + BEAT, "abcd")
    assert cluster.members == list("abcd")


def test_forgetting_the_dead_lets_the_next_leave() -> None:
    cluster = Cluster.of(*map(row, "abcdefgh"))
    assert len(cluster.pass_time(GRACE + BEAT, "abcd").held) == 1
    for name in "efg":
        cluster.stores.pop(name)
    cluster.turn("abcd")
    assert cluster.members == list("abcd")


def test_no_store_leaves_when_too_few_for_the_copies_were_left() -> None:
    cluster = Cluster.of(*map(row, "abc"))
    decision = cluster.pass_time(GRACE + BEAT, "ab")
    assert cluster.members == list("abc")
    assert decision.held == {"c": Blocked.TOO_FEW_LEFT}
    cluster.stores["d"] = row("d")
    decision = cluster.pass_time(BEAT, "abd")
    assert cluster.members == list("abd")
    assert decision.held == {}


def test_a_forgotten_store_leaves_at_once_and_comes_back_when_it_registers() -> None:
    cluster = Cluster.of(*map(row, "abc"))
    gone = cluster.stores.pop("c")
    cluster.turn("ab")
    assert cluster.members == list("ab")
    cluster.stores["c"] = gone
    cluster.turn("abc")
    assert cluster.members == list("abc")
    cluster.stores.clear()
    assert cluster.turn("").layout is None, "a layout of nothing would hold nothing"


def test_a_draining_store_leaves_and_comes_back_undrained() -> None:
    cluster = Cluster.of(*FIVE)
    cluster.set_state("b", State.DRAINING)
    cluster.turn("abcde")
    assert cluster.members == list("acde")
    assert cluster.turn("abcde").layout is None
    cluster.set_state("b", State.ACTIVE)
    cluster.turn("abcde")
    assert cluster.members == list("abcde")


def test_draining_does_not_go_below_the_copies_asked_for() -> None:
    cluster = Cluster.of(*map(row, "abc"), wish=Desired(copies=3))
    cluster.set_state("b", State.DRAINING)
    assert cluster.turn("abc").held == {"b": Blocked.TOO_FEW_LEFT}
    assert cluster.members == list("abc")
    cluster.wish = Desired(copies=2)
    assert cluster.turn("abc").held == {}
    assert cluster.members == list("ac")


def test_without_a_wish_draining_a_server_is_one_server_less() -> None:
    cluster = Cluster.of(*map(row, "ab"))
    cluster.set_state("a", State.DRAINING)
    cluster.turn("ab")
    assert cluster.layout == Layout(2, (StoreLabel("b", "on-b", ""),), 1)
    cluster.set_state("b", State.DRAINING)
    assert cluster.turn("ab").held == {"b": Blocked.TOO_FEW_LEFT}
    assert cluster.members == ["b"], "the last one has nowhere to go"


def test_other_copies_make_a_layout_but_never_more_than_stores() -> None:
    cluster = Cluster.of(*map(row, "abcd"))
    for asked, placed in ((2, 2), (4, 4), (9, 4), (1, 1)):
        cluster.wish = Desired(copies=asked)
        cluster.turn("abcd")
        assert cluster.layout is not None
        assert cluster.layout.copies == placed


def test_a_database_that_was_away_makes_nobody_silent() -> None:
    """All `seen` are old then, and the first one back must not think that the others are dead."""
    cluster = Cluster.of(*FIVE)
    cluster.monotonic += 10 * GRACE
    cluster.turn("a")
    cluster.pass_time(GRACE, "a")
    assert cluster.members == list("abcde")
    cluster.pass_time(BEAT, "a")
    assert cluster.members != list("abcde")


def test_whoever_starts_waits_before_it_judges() -> None:
    """After a night without power the first server finds the others' rows a night old."""
    old = [replace(each, seen=BEGIN - 40_000) for each in FIVE]
    cluster = Cluster({each.store_id: each for each in old}, layout=layout_of_names(7, "abcde", 3))
    cluster.pass_time(GRACE, "a")
    assert cluster.members == list("abcde")


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
def test_a_database_whose_clock_is_set_puts_nobody_out_and_lets_no_dead_in(skew: float) -> None:
    cluster = Cluster.of(*FIVE)
    cluster.pass_time(GRACE + BEAT, "abcd")
    cluster.skew = skew
    cluster.pass_time(GRACE * 2, "abcd")
    assert len(cluster.layouts) == 2
    cluster.turn("abcde")
    assert cluster.members == list("abcde")


def test_when_the_time_repeats_itself_the_dead_stay_out() -> None:
    """The database's time is again what it was when the dead store was last heard of."""
    cluster = Cluster.of(*FIVE)
    cluster.set_state("e", State.DRAINING)
    cluster.pass_time(GRACE / 2, "abcd")
    cluster.set_state("e", State.ACTIVE)
    cluster.skew = -cluster.monotonic
    assert cluster.now == cluster.stores["e"].seen
    assert cluster.turn("abcd").layout is None
    cluster.monotonic += 1
    assert cluster.turn("abcde").layout is not None, "and when it is alive it is in"


@each_row(
    ("asked", "names", "copies"),
    [
        (None, "a", 1),
        (None, "ab", 2),
        (None, "abcde", 3),
        (5, "a", 5),
        (1, "abc", 1),
        (None, "", 1),
    ],
)
def test_copies_that_are_wanted(asked: int | None, names: str, copies: int) -> None:
    assert wanted_copies(asked, map(row, names)) == copies


def test_the_copies_that_a_setting_asks_for() -> None:
    assert copies_asked(None) is None
    assert [copies_asked(text) for text in ("1", "3", "10")] == [1, 3, 10]
    for text in ("", "0", "-1", "11", "three", "3.0", " 3", "\u0663", "\u00b2"):
        with pytest.raises(SettingInvalid, match="from 1 to 10"):
            copies_asked(text)


def test_layouts_and_their_records_are_the_same() -> None:
    layout = Cluster.of(row("a", zone="x"), row("b"), wish=Desired(copies=2)).layout
    assert layout is not None
    record = record_of(layout, created=BEGIN)
    assert record.created == BEGIN
    assert layout_of(record) == layout


def test_older_layouts_are_searched_newest_first_and_alike_ones_once() -> None:
    changes = ["ab", "abc", "ab", "abx", "ab", "y", "abcd"]
    made = [layout_of_names(number, names) for number, names in enumerate(changes, 1)]
    found = readable_layouts(made, set("abcd"))
    assert [layout.number for layout in found] == [7, 5, 2]
    assert found[0] is made[6]
    assert readable_layouts(made, set()) == ()


def test_layouts_searched_are_bounded() -> None:
    made = [layout_of_names(number, "abcdefghijklmnop"[:number]) for number in range(1, 17)]
    found = readable_layouts(made, set("abcdefghijklmnop"))
    assert [layout.number for layout in found] == list(range(16, 8, -1))


@cache
def table_of(names: str) -> Table:
    return build_table(layout_of_names(1, names))


CHUNKS = st.binary(min_size=32, max_size=32)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """A cluster of up to four servers with up to three disks each, some draining."""
    servers = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    rows = [
        replace(row(f"{n}-{disk}", f"server{n}"), state=draw(st.sampled_from([*State, *State])))
        for n, disks in enumerate(servers)
        for disk in range(disks)
    ]
    copies = draw(st.one_of(st.none(), st.integers(1, 4)))
    return Cluster.of(*rows, wish=Desired(copies=copies, grace_seconds=30))


STEPS = st.lists(
    st.tuples(st.sampled_from(["silence", "drain", "undrain", "forget", "copies"]), st.integers(0)),
    max_size=8,
)


def step(cluster: Cluster, what: str, number: int) -> None:
    """Let something happen to one store, and look afterwards."""
    names = sorted(cluster.stores)
    if what == "silence":
        alive = [name for n, name in enumerate(names) if number >> n & 1]
        cluster.pass_time(40, alive)
        return
    if names:
        name = names[number % len(names)]
        if what == "forget":
            del cluster.stores[name]
        elif what != "copies":
            cluster.set_state(name, State.DRAINING if what == "drain" else State.ACTIVE)
    if what == "copies":
        cluster.wish = replace(cluster.wish, copies=number % 5 or None)
    cluster.turn(())


@settings(max_examples=examples(200), deadline=None)
@given(clusters(), STEPS)
def test_whatever_happens_layouts_are_sound_and_settle(
    cluster: Cluster, steps: list[tuple[str, int]]
) -> None:
    for what, number in steps:
        before, known = cluster.members, set(cluster.stores)
        step(cluster, what, number)
        decision = next_layout(cluster.view(), cluster.wish)
        assert decision.layout is None, "what was decided stands"
        assert next_layout(cluster.view(), cluster.wish) == decision
        assert decision.held.keys() <= set(cluster.members)
        alive = set(cluster.members) & set(cluster.stores)
        assert alive in (set(), set(cluster.members)), "when all are forgotten there is no better"
        if what != "forget":
            wanted = wanted_copies(cluster.wish.copies, cluster.stores.values())
            assert len(cluster.members) >= min(wanted, len(set(before) & known))
    assert [each.number for each in cluster.layouts] == list(range(1, len(cluster.layouts) + 1))
    for each in cluster.layouts:
        assert 1 <= each.copies <= len(each.stores)


@settings(max_examples=examples(100), deadline=None)
@given(clusters(), st.integers(0))
def test_what_is_active_and_alive_is_in(cluster: Cluster, number: int) -> None:
    names = sorted(cluster.stores)
    cluster.pass_time(100, [name for n, name in enumerate(names) if number >> n & 1])
    cluster.pass_time(BEAT)
    active = {name for name, each in cluster.stores.items() if each.state is State.ACTIVE}
    assert active <= set(cluster.members)


@settings(max_examples=examples(100), deadline=None)
@given(clusters(), st.permutations(range(12)))
def test_the_order_of_the_rows_does_not_matter(cluster: Cluster, order: list[int]) -> None:
    cluster.pass_time(40, sorted(cluster.stores)[::2])
    rows = list(cluster.view().stores)
    shuffled = tuple(rows[n] for n in order if n < len(rows))
    for layout in (None, cluster.layout):
        view = replace(cluster.view(), layout=layout)
        assert next_layout(view, Desired()) == next_layout(
            replace(view, stores=shuffled), Desired()
        )
