"""The breaker's table, by example and by any sequence of what can be seen of another server."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as some

from tests.tables import each_row
from treescale.peer.breaker import (
    FAILURES_MAX,
    PROBE_JITTER,
    PROBE_SECONDS_MAX,
    TABLE,
    Breaker,
    Event,
    State,
)

STEPS: list[str] = ["pong", "missed", "gone", "answered", "failed", "cancelled", "admit", "wait"]


class Watched:
    """A breaker, the time, and what it admitted."""

    def __init__(self, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.breaker = Breaker(chance)
        self.now = 1000.0
        self.probes: list[float] = []

    @property
    def state(self) -> State:
        return self.breaker.state

    def admitted(self) -> bool:
        """Ask for one request to be let through."""
        if not self.breaker.would_admit(self.now):
            return False
        if self.state is State.FAILING:
            self.probes.append(self.now)
        self.breaker.admit()
        return True

    def step(self, name: str) -> None:
        """Let one thing happen."""
        match name:
            case "failed":
                self.breaker.failed(self.now)
            case "wait":
                self.now += 0.5
            case "admit":
                self.admitted()
            case _:
                getattr(self.breaker, name)()

    def steps(self, *names: str) -> State:
        """Let things happen, and return the state."""
        for name in names:
            self.step(name)
        return self.state


def test_a_server_is_up_until_something_else_is_known() -> None:
    assert Watched().admitted()


def test_two_missed_pings_make_it_suspect_and_four_down() -> None:
    it = Watched()
    assert [it.steps("missed") for _ in range(5)] == [
        State.UP,
        State.SUSPECT,
        State.SUSPECT,
        State.DOWN,
        State.DOWN,
    ]
    assert not it.admitted()


def test_a_ping_between_is_no_second_in_a_row() -> None:
    assert Watched().steps("missed", "pong", "missed", "pong", "missed") is State.UP


@each_row("before", [["gone"], ["missed"] * 2, ["missed"] * 9, ["gone", "missed"]])
def test_a_ping_that_is_answered_makes_a_silent_server_up_at_once(before: list[str]) -> None:
    it = Watched()
    it.steps(*before)
    assert not it.admitted()
    assert it.steps("pong") is State.UP
    assert it.admitted()


def test_refused_is_down_at_once() -> None:
    assert Watched().steps("gone") is State.DOWN


def test_five_failures_in_a_row_stop_requests_and_four_do_not() -> None:
    it = Watched()
    assert it.steps(*["failed"] * 4, "answered", *["failed"] * 4) is State.UP
    assert it.steps("failed") is State.FAILING
    assert not it.admitted()


def test_a_ping_says_nothing_about_failing_requests() -> None:
    it = Watched()
    it.steps(*["failed"] * 5)
    assert it.steps("pong", "pong") is State.FAILING
    assert not it.admitted()


def test_one_request_at_a_time_shows_whether_it_still_fails() -> None:
    it = Watched()
    it.steps(*["failed"] * 5)
    it.now += 1.0
    assert it.admitted()
    assert it.state is State.PROBING
    assert not it.admitted()
    assert it.steps("answered") is State.UP


def test_a_probe_that_is_given_up_leaves_another_due() -> None:
    it = Watched()
    it.steps(*["failed"] * 5)
    it.now += 1.0
    assert it.admitted()
    assert it.steps("cancelled") is State.FAILING
    assert it.admitted()


def waits(it: Watched, count: int) -> list[float]:
    """Let probes fail; return how long each was waited for."""
    found = []
    for _ in range(count):
        begun = it.now
        while not it.admitted():
            it.now += 0.125
        found.append(it.now - begun)
        it.steps("failed")
    return found


def test_probes_become_rare_and_frequent_again_after_an_answer() -> None:
    it = Watched()
    it.steps(*["failed"] * 5)
    assert waits(it, 8) == [1, 2, 4, 8, 16, 30, 30, 30]
    it.now += 30
    assert it.admitted()
    it.steps("answered", *["failed"] * 5)
    assert waits(it, 2) == [1, 2]


def test_chance_makes_a_probe_earlier_by_a_quarter_at_most() -> None:
    it = Watched(lambda: 1.0)
    it.steps(*["failed"] * 5)
    assert waits(it, 3) == [0.75, 1.5, 3.0]


def test_what_failed_while_it_was_away_does_not_count_when_it_is_back() -> None:
    it = Watched()
    it.steps("gone", *["failed"] * 16, "pong")
    assert it.steps("failed") is State.UP


@given(some.lists(some.sampled_from(STEPS), max_size=80), some.floats(0, 1, exclude_max=True))
def test_whatever_is_seen(names: list[str], chance: float) -> None:
    """No event lacks its row; who is silent is not asked; probes are apart, and bounded."""
    it = Watched(lambda: chance)
    missed = 0
    for name in names:
        before = it.state
        it.step(name)
        missed = {"missed": missed + 1, "pong": 0}.get(name, missed)
        assert missed < 2 or it.state in (State.SUSPECT, State.DOWN)
        if name == "pong" and before in (State.SUSPECT, State.DOWN):
            assert it.state is State.UP
        if it.state is State.PROBING or it.state in (State.SUSPECT, State.DOWN):
            assert not it.breaker.would_admit(it.now)
        if it.state is State.FAILING:
            assert it.breaker.would_admit(it.now + PROBE_SECONDS_MAX)
    it.steps("pong", "answered")
    assert it.state is State.UP


@given(some.lists(some.sampled_from(["failed", "pong", "wait", "admit"]), max_size=200))
def test_probes_of_a_failing_server_are_never_close(names: list[str]) -> None:
    it = Watched(lambda: 0.999)
    it.steps(*["failed"] * FAILURES_MAX)
    begun = it.now
    it.steps(*names)
    for earlier, later in zip([begun, *it.probes], it.probes, strict=False):
        assert later - earlier >= 1 - PROBE_JITTER


def test_every_state_and_event_has_its_use() -> None:
    assert {state for state, _ in TABLE} == set(TABLE.values()) == set(State)
    assert {event for _, event in TABLE} == set(Event)
