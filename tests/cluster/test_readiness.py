"""Which server is fit for what: the table of decisions."""

import pytest

from tests.tables import each_row
from treescale.cluster.readiness import (
    NEEDED,
    STALE_SECONDS,
    WORDS,
    Around,
    Check,
    PeerCounts,
    Purpose,
    Reason,
    Seen,
    clock_reason,
    findings,
    why,
)
from treescale.errors import (
    DatabaseTrouble,
    DatabaseUnavailable,
    NotEnoughStores,
    ServerUnknown,
    StoreFull,
)

NOW = 1000.0
LOOKED = (Check.DATABASE_READ, Check.DATABASE_WRITE, Check.SCHEMA, Check.CLOCK)
WELL = {check: Seen(Reason.WELL, NOW) for check in LOOKED}
NOBODY = PeerCounts()


def wrong(
    purpose: Purpose = Purpose.EVERYTHING,
    seen: dict[Check, Seen] = WELL,
    peers: PeerCounts = NOBODY,
    *,
    ending: bool = False,
    stores: bool = True,
    now: float = NOW,
) -> dict[Check, Reason]:
    found = findings(purpose, seen, Around(peers, stores_writable=stores, ending=ending), now)
    assert {one.check for one in found} == NEEDED[purpose]
    return {one.check: one.reason for one in found if not one.ok}


def test_a_server_where_all_is_well_is_fit_for_everything() -> None:
    assert all(wrong(purpose) == {} for purpose in Purpose)


@each_row("check", LOOKED)
def test_each_thing_that_is_looked_at_counts_and_none_for_pulls(check: Check) -> None:
    for seen, reason in (
        (Seen(Reason.SILENT, NOW), Reason.SILENT),
        (Seen(), Reason.NEVER_SEEN),
        (Seen(Reason.WELL, NOW - STALE_SECONDS - 0.1), Reason.STALE),
        (Seen(Reason.SILENT, NOW - 1000), Reason.SILENT),
    ):
        assert wrong(seen=WELL | {check: seen}) == {check: reason}
        assert wrong(Purpose.PUSH, WELL | {check: seen}) == {check: reason}
        assert wrong(Purpose.PULL, WELL | {check: seen}) == {}
    assert wrong(seen=WELL | {check: Seen(Reason.WELL, NOW - STALE_SECONDS)}) == {}
    assert wrong(seen={one: seen for one, seen in WELL.items() if one is not check}) == {
        check: Reason.NEVER_SEEN
    }


def test_without_the_database_a_whole_cluster_is_fit_for_pulls() -> None:
    """Else a balancer would empty itself."""
    away = {check: Seen(Reason.SILENT, NOW) for check in LOOKED}
    assert wrong(Purpose.PULL, away, PeerCounts(4, 0)) == {}
    assert len(wrong(Purpose.EVERYTHING, away)) == len(LOOKED)


def test_without_a_disk_to_write_to_pulls_go_on() -> None:
    assert wrong(stores=False) == {Check.STORE: Reason.STORES}
    assert wrong(Purpose.PULL, stores=False) == {}


@pytest.mark.parametrize("purpose", Purpose)
def test_a_server_that_ends_is_fit_for_nothing(purpose: Purpose) -> None:
    assert wrong(purpose, ending=True) == {Check.ENDING: Reason.ENDING}


@each_row(
    ("peers", "everything", "pull"),
    [
        (PeerCounts(0, 0), True, True),
        (PeerCounts(1, 0), True, True),
        (PeerCounts(1, 1), False, True),
        (PeerCounts(1, 1, blamed=True), False, False),
        (PeerCounts(2, 1), True, True),
        (PeerCounts(2, 2), False, False),
        (PeerCounts(3, 2), False, False),
        (PeerCounts(4, 2), True, True),
        (PeerCounts(5, 3), False, False),
    ],
)
def test_more_than_half_of_those_that_answer(
    peers: PeerCounts, *, everything: bool, pull: bool
) -> None:
    """Who does not answer does not count: else servers that start in turn wait for each other."""
    refused = {Check.PEERS: Reason.PEERS}
    assert wrong(peers=peers) == ({} if everything else refused)
    assert wrong(Purpose.PULL, peers=peers) == ({} if pull else refused)


@each_row(
    ("error", "reason"),
    [
        *((DatabaseUnavailable("x", trouble), Reason[trouble.name]) for trouble in DatabaseTrouble),
        (StoreFull("x"), Reason.FULL),
        (ServerUnknown("x"), Reason.FORGOTTEN),
        (TimeoutError(), Reason.LATE),
        (NotEnoughStores("x"), Reason.UNKNOWN),
        (RuntimeError("x"), Reason.UNKNOWN),
    ],
)
def test_what_an_error_means(error: Exception, reason: Reason) -> None:
    assert why(error) is reason


@each_row(
    ("seconds", "well"), [(0.0, True), (60.0, True), (-60.0, True), (60.1, False), (-600.0, False)]
)
def test_a_clock_a_minute_off_is_too_far(seconds: float, *, well: bool) -> None:
    assert (clock_reason(seconds) is Reason.WELL) is well


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(Reason)
