"""Which backups of a directory stay: whatever lies there pushes out no good one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from treescale.maintenance.backup.rotation import draft_of, is_name, name_of, to_remove

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
OURS, OTHER = "0123456789abcdef", "fedcba9876543210"
HOURS = st.integers(0, 24 * 40)


def at(hours: int, cluster: str = OURS) -> str:
    return name_of((BEGIN + timedelta(hours=hours)).timestamp(), cluster)


NAMES = st.one_of(
    st.builds(
        at,
        HOURS,
        st.sampled_from([OURS, OTHER, ""]),
    ),
    st.sampled_from(["move", "treescale.db", draft_of(name_of(0, OURS)), "treescale-x-y.backup"]),
)


def day(name: str) -> str:
    return name[10:18]


def of(name: str, cluster: str) -> bool:
    return name.endswith(f"-{cluster[:8]}.backup")


@settings(max_examples=examples(200))
@given(st.sets(NAMES), HOURS, st.integers(1, 20))
def test_what_stays(there: set[str], hours: int, keep: int) -> None:
    """The one just made, other clusters' and strangers' files; of ours `keep` days, the newest."""
    made = at(hours)
    names = there | {made}
    gone = set(to_remove(names, made, keep))
    left = names - gone
    assert made in left
    assert all(is_name(name) and of(name, OURS) for name in gone)
    days = {day(name) for name in names if is_name(name) and of(name, OURS)}
    kept = {name for name in left if is_name(name) and of(name, OURS)}
    newest = sorted(days)[-keep:]
    assert {day(name) for name in kept - {made}} <= {*newest}
    assert {*newest} <= {day(name) for name in kept}
    assert len(kept - {made}) <= keep
    for name in kept - {made}:
        of_its_day = [other for other in names if of(other, OURS) and day(other) == day(name)]
        assert name == max(of_its_day)


@settings(max_examples=examples(100))
@given(st.sets(NAMES), HOURS, st.integers(1, 20))
def test_it_is_done_at_once(there: set[str], hours: int, keep: int) -> None:
    """A second look removes nothing more, and the order in which names are listed is all one."""
    made = at(hours)
    names = there | {made}
    gone = to_remove(names, made, keep)
    assert to_remove(sorted(names, reverse=True), made, keep) == gone
    assert to_remove(names - {*gone}, made, keep) == []


def test_two_weeks_of_nights() -> None:
    nights: list[str] = []
    for night in range(30):
        made = at(24 * night + 2)
        nights.append(made)
        nights = [name for name in nights if name not in to_remove(nights, made, 14)]
    assert nights == [at(24 * night + 2) for night in range(16, 30)]


def test_a_clock_that_was_set_back_loses_nothing_that_is_newer() -> None:
    later = [at(24 * day) for day in (10, 11, 12)]
    made = at(0)
    assert to_remove([*later, made], made, 3) == []
    assert to_remove([*later, made], made, 2) == [at(24 * 10)]


def test_names() -> None:
    assert name_of(1_796_076_614.9, OURS) == "treescale-20261130T221014Z-01234567.backup"
    assert name_of(0, "") == "treescale-19700101T000000Z-new.backup"
    assert draft_of(name_of(0, OURS)) == "treescale-01234567.part"
    assert not is_name(draft_of(name_of(0, OURS)))
    assert not is_name("treescale-20261130T201014Z-01234567.backup.part")
