"""Whom a row is held against, and what it says of its bar."""

from hypothesis import given
from hypothesis import strategies as st

from bench.rows import MET, OPEN, SHORT, Bar, Row, at_least, at_most, beside
from tests.tables import each_row

NAMED = ("old 1", "new 2")
FASTER = at_least(1.0, NAMED)
figures = st.floats(0.01, 1000)
rounds = st.lists(st.tuples(figures, figures, figures), min_size=1, max_size=5)


def row(bar: Bar | None, ours: float, **peers: float) -> Row:
    named = {name.replace("_", " "): [value] for name, value in peers.items()}
    return beside("work", "MB/s", bar, [ours], named)


def test_the_best_peer_is_the_one_that_leaves_us_furthest_behind() -> None:
    peers = {"old 1": [1.0, 90.0, 2.0], "new 2": [3.0, 4.0, 3.5]}
    ours = [5.0, 5.0, 5.0]
    assert beside("", "MB/s", FASTER, ours, peers).against == "new 2"
    assert beside("", "s/GB", at_most(1.0, NAMED), ours, peers).against == "old 1"
    assert beside("", "MB/s", None, ours, peers).against == "new 2"


def test_a_bar_is_not_met_beside_one_peer_and_missed_beside_another() -> None:
    """As by the medians of the peers: 11 and 10, beside which ours is 1.67 and 0.5."""
    ours, peers = [5.0, 20.0, 5.0], {"old 1": [10.0, 10.0, 10.0], "new 2": [1.0, 12.0, 11.0]}
    found = beside("", "MB/s", FASTER, ours, peers)
    assert (found.against, found.value, found.verdict) == ("old 1", 0.5, SHORT)


def test_ratios_are_made_round_by_round() -> None:
    found = beside("", "MB/s", FASTER, [1.0, 8.0, 3.0], {"old 1": [2.0, 4.0, 3.0]})
    assert found.ratios == found.judged == [0.5, 2.0, 1.0]
    assert found.value == 1.0


def test_a_peer_that_the_bar_does_not_name_is_shown_and_not_judged() -> None:
    found = row(FASTER, 10, old_1=5, new_2=8, other_3=100)
    assert (found.against, found.verdict) == ("new 2", MET)
    assert "other 3" in found.peers


@each_row(
    ("bar", "ours", "peers", "verdict"),
    [
        (FASTER, 10, {"old_1": 5, "new_2": 10}, MET),
        (FASTER, 10, {"old_1": 5, "new_2": 11}, SHORT),
        (FASTER, 10, {"old_1": 5}, OPEN),  # the one that might be ahead was not there
        (FASTER, 10, {"old_1": 11}, SHORT),  # whatever that one does
        (FASTER, 10, {"other_3": 11}, OPEN),
        (FASTER, 10, {"other_3": 9}, OPEN),
        (FASTER, 10, {}, OPEN),
        (at_most(1.0, NAMED), 10, {"old_1": 11, "new_2": 10}, MET),
        (at_most(1.0, NAMED), 10, {"old_1": 9, "new_2": 20}, SHORT),
        (at_most(130, own=True), 128, {"old_1": 40}, MET),
        (at_most(130, own=True), 131, {"old_1": 400}, SHORT),
        (at_least(1.0), 10, {"other_3": 9}, MET),
        (None, 10, {"other_3": 9}, ""),
    ],
)
def test_what_a_row_says_of_its_bar(
    bar: Bar | None, ours: float, peers: dict[str, float], verdict: str
) -> None:
    assert row(bar, ours, **peers).verdict == verdict


def test_a_figure_alone_is_judged_by_itself() -> None:
    assert Row("start", "s", at_most(2.0), [1.9]).verdict == MET
    assert Row("start", "s", at_most(2.0), [2.1]).verdict == SHORT


def test_a_ratio_is_judged_as_it_is_printed() -> None:
    assert row(FASTER, 0.996, old_1=1, new_2=1).verdict == MET
    assert row(FASTER, 0.994, old_1=1, new_2=1).verdict == SHORT


@given(rounds=rounds, bar=st.sampled_from([FASTER, at_most(1.0, NAMED)]))
def test_what_is_installed_passes_nothing(
    rounds: list[tuple[float, float, float]], bar: Bar
) -> None:
    """A run with fewer peers says what the whole one does, or leaves the row open."""
    ours, old, new = (list(side) for side in zip(*rounds, strict=True))
    whole = beside("", "MB/s", bar, ours, {"old 1": old, "new 2": new}).verdict
    assert whole in {MET, SHORT}
    for fewer in ({"old 1": old}, {"new 2": new}, {"other 3": new}, {}):
        verdict = beside("", "MB/s", bar, ours, fewer).verdict
        assert verdict in {OPEN, SHORT if whole == SHORT else OPEN}
