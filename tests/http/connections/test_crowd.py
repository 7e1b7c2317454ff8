"""Which connections go when there are too many, and that the right ones stay."""

from dataclasses import dataclass, field

from tests.tables import each_row
from treescale.http.connections.crowd import (
    CONNECTIONS_MIN,
    OF_ONE_ADDRESS_MAX,
    QUIET_SECONDS,
    STRANGERS_MAX,
    Bounds,
    Crowd,
    Stage,
    bounds,
    first_to_go,
    origin_of,
)

ROOMY = Bounds(connections=1000, strangers=1000, of_one_address=1000)


@dataclass(eq=False)
class Somebody:
    """A connection."""

    name: str
    since: float = 0.0
    stage: Stage = Stage.WAITING
    logged_in: bool = False
    origin: str | None = "192.0.2.1"
    ended: int = field(default=0)

    def end(self) -> None:
        """Count it."""
        self.ended += 1


def test_strangers_that_wait_go_first_and_of_them_the_longest_idle() -> None:
    guests = [
        Somebody("logged in, waits", 1, logged_in=True),
        Somebody("pulls", 1, Stage.WORKING),
        Somebody("half a head", 1, Stage.ARRIVING),
        Somebody("lately", 9),
        Somebody("long ago", 2),
        Somebody("pushes", 0, Stage.WORKING, logged_in=True),
    ]
    order = [guest.name for guest in first_to_go(guests, 10)]
    assert order == ["long ago", "lately", "half a head", "pulls", "logged in, waits"]
    assert [guest.name for guest in first_to_go(guests, 1)] == ["long ago"]


class TestOneAddress:
    def test_the_longest_idle_goes_and_who_comes_is_let_in(self) -> None:
        crowd = Crowd(Bounds(1000, 1000, of_one_address=3))
        first, *others = [Somebody(str(number), number) for number in range(4)]
        peer = Somebody("neighbour", -1, origin="192.0.2.2")
        for guest in (peer, first, *others):
            assert crowd.enter(guest, 0)
        assert first.ended == 1
        assert [guest.ended for guest in (peer, *others)] == [0, 0, 0, 0]
        assert len(crowd) == 4

    def test_who_logs_in_does_not_count_any_more(self) -> None:
        crowd = Crowd(Bounds(1000, 1000, of_one_address=3))
        fleet = [Somebody(str(number), number) for number in range(100)]
        for guest in fleet:
            assert crowd.enter(guest, 0)
            crowd.logs_in(guest)
            guest.logged_in = True
        assert sum(guest.ended for guest in fleet) == 0
        for guest in fleet:
            crowd.leave(guest)
        assert len(crowd) == 0

    def test_an_address_that_many_share_has_no_limit(self) -> None:
        crowd = Crowd(Bounds(1000, 1000, of_one_address=3))
        guests = [Somebody(str(number), origin=None) for number in range(100)]
        assert all(crowd.enter(guest, 0) for guest in guests)
        assert sum(guest.ended for guest in guests) == 0

    @each_row(
        ("address", "origin"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("not:an:address", "not:an:address"),
        ],
    )
    def test_what_counts_as_one(self, address: str, origin: str) -> None:
        assert origin_of(address) == origin


class TestAll:
    def test_many_addresses_do_not_fill_the_table(self) -> None:
        crowd = Crowd(Bounds(connections=50, strangers=40, of_one_address=5))
        ours = [Somebody(f"ours {number}", origin="10.0.0.1") for number in range(20)]
        for guest in ours:
            assert crowd.enter(guest, 0)
            crowd.logs_in(guest)
            guest.logged_in = True
        strangers = [Somebody(str(n), n, origin=f"198.51.100.{n}") for n in range(200)]
        assert all(crowd.enter(guest, 1) for guest in strangers)
        assert len(crowd) <= 50
        assert sum(guest.ended for guest in ours) == 0
        assert strangers[-1].ended == 0

    def test_without_a_bound_it_would_be_filled(self) -> None:
        crowd = Crowd(ROOMY)
        for number in range(900):
            crowd.enter(Somebody(str(number), origin=str(number)), 0)
        assert len(crowd) == 900

    def test_when_nobody_can_go_the_newcomer_is_refused(self) -> None:
        crowd = Crowd(Bounds(2, 2, 2))
        for _ in range(2):
            guest = Somebody("pushes", stage=Stage.WORKING)
            assert crowd.enter(guest, 0)
            crowd.logs_in(guest)
            guest.logged_in = True
        late = Somebody("late")
        assert not crowd.enter(late, 0)
        crowd.leave(late)
        assert len(crowd) == 2
        assert crowd.episode is not None
        assert crowd.episode.refused == 1

    def test_many_are_ended_at_once_so_that_few_looks_are_needed(self) -> None:
        crowd = Crowd(Bounds(200, 200, 200))
        guests = [Somebody(str(number), number) for number in range(201)]
        for guest in guests:
            crowd.enter(guest, 0)
        assert [guest.ended for guest in guests] == [1] * 16 + [0] * 185

    def test_room_can_be_made(self) -> None:
        crowd = Crowd(ROOMY)
        guest = Somebody("idle")
        assert not crowd.make_room(0)
        crowd.enter(guest, 0)
        assert crowd.make_room(0)
        assert guest.ended == 1

    def test_leaving_twice_is_once(self) -> None:
        crowd = Crowd(Bounds(10, 10, 1))
        guest, other = Somebody("one"), Somebody("other", 1)
        crowd.enter(guest, 0)
        crowd.enter(other, 0)  # ends the first, which says so later
        crowd.leave(guest)
        crowd.logs_in(guest)
        assert len(crowd) == 1
        crowd.leave(other)
        assert len(crowd) == 0


def test_an_episode_is_told_when_it_is_over() -> None:
    crowd = Crowd(Bounds(10, 10, 1))
    for number in range(3):
        crowd.enter(Somebody(str(number)), float(number))
    assert crowd.episode is not None
    assert crowd.is_over(QUIET_SECONDS) is None
    over = crowd.is_over(QUIET_SECONDS + 2)
    assert over is not None
    assert (over.ended, over.began, over.last) == (2, 1.0, 2.0)
    assert crowd.episode is None


@each_row(
    ("files", "others", "expected"),
    [
        (1024, 40, Bounds(728, 728, 182)),
        (512, 40, Bounds(344, 344, 86)),
        (65_536, 100, Bounds(64_412, STRANGERS_MAX, OF_ONE_ADDRESS_MAX)),
        (64, 60, Bounds(CONNECTIONS_MIN, CONNECTIONS_MIN, CONNECTIONS_MIN)),
    ],
)
def test_the_bounds_leave_room_for_other_files(files: int, others: int, expected: Bounds) -> None:
    assert bounds(files, others) == expected
