"""How fast walks go: as they can alone, and beside clients as long as those are not slower."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.virtualtime import LoopClock, virtual
from treescale.maintenance.pace import (
    BESIDE_BYTES_MIN,
    IDLE_BYTES_MAX,
    LOOK_SECONDS,
    LOOKING_SHARE_MAX,
    READ_BACK_BYTES_MAX,
    SHARE_MAX,
    SLOWER,
    URGENT_BYTES_MIN,
    Clients,
    Governor,
    Pace,
    Served,
    nobody,
)
from treescale.metrics.traffic import PIECE_BYTES, Flow, TrafficCounters

MB = 1_000_000
BUSY = 100.0 * MB
"""Bytes a second of clients."""
AS_EVER = 1e-8
"""Seconds that they wait for a byte."""

SERVED = some.builds(
    Served,
    some.floats(0, 1e10),
    some.none() | some.floats(0, 1e-3, allow_subnormal=False),
)


@given(some.lists(SERVED, max_size=100))
def test_a_walk_is_never_stopped_and_never_takes_more_than_its_share(looks: list[Served]) -> None:
    governor = Governor()
    for served in looks:
        rate = governor.step(served)
        if served.rate <= IDLE_BYTES_MAX:
            assert rate == float("inf")
        else:
            assert rate >= BESIDE_BYTES_MIN
            assert rate <= max(BESIDE_BYTES_MIN, SHARE_MAX * max(one.rate for one in looks))


@given(some.lists(some.floats(1e-9, 1e-3), min_size=1, max_size=60), some.floats(1e-9, 1e-3))
def test_the_slower_clients_get_the_less_a_walk_moves(before: list[float], last: float) -> None:
    one, other = Governor(), Governor()
    for slowness in before:
        one.step(Served(BUSY, slowness))
        other.step(Served(BUSY, slowness))
    assert one.step(Served(BUSY, 2 * last)) <= other.step(Served(BUSY, last))


def test_it_begins_with_a_little_goes_faster_and_gives_way() -> None:
    governor = Governor()
    assert governor.step(Served(BUSY, AS_EVER)) == BESIDE_BYTES_MIN
    rates = [governor.step(Served(BUSY, AS_EVER)) for _ in range(30)]
    assert rates == sorted(rates)
    assert rates[-1] == SHARE_MAX * BUSY
    assert governor.step(Served(BUSY, 2 * AS_EVER)) == rates[-1] / 2
    for _ in range(10):
        governor.step(Served(BUSY, 2 * AS_EVER))
    assert governor.rate < rates[-1] / 2


def test_clients_that_are_slow_without_a_walk_hold_none_back_for_long() -> None:
    """Others came, over slow lines: that is their usual pace from now on."""
    governor = Governor()
    for _ in range(20):
        governor.step(Served(BUSY, AS_EVER))
    for _ in range(60):
        governor.step(Served(BUSY, 10 * AS_EVER))
    assert governor.rate > 4 * BESIDE_BYTES_MIN


@dataclass
class Disk:
    """What clients and a walk share: so many bytes a second, and who asks for more waits longer."""

    bytes_per_second: float
    clients: float
    slowness: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def run(self, governor: Governor, looks: int) -> None:
        """Serve both for so many looks."""
        rate = 0.0
        for _ in range(looks):
            walk = min(rate, self.bytes_per_second)
            load = min(0.98, (self.clients + walk) / self.bytes_per_second)
            served = min(self.clients, self.bytes_per_second - walk / 2)
            self.slowness.append(1 / self.bytes_per_second / (1 - load))
            rate = governor.step(Served(served, self.slowness[-1]))
            self.rates.append(rate)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_simulated_clients_are_hardly_slower_and_the_walk_gets_on(share: float) -> None:
    disk = Disk(100.0 * MB, share * 100 * MB)
    disk.run(Governor(), 2000)
    alone = 1 / disk.bytes_per_second / (1 - share)
    settled = sorted(disk.slowness[100:])
    assert settled[int(0.9 * len(settled))] < 2 * alone
    assert sum(settled) / len(settled) < 1.5 * alone
    assert sum(disk.rates) / len(disk.rates) >= BESIDE_BYTES_MIN


def test_control_a_walk_that_does_not_look_slows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Governor, "_is_slower", lambda self, slowness: False)  # noqa: ARG005
    with pytest.raises(AssertionError):
        test_simulated_clients_are_hardly_slower_and_the_walk_gets_on(0.7)


class Counted:
    """Clients of a server that get so much a second; they wait `slowness` for a byte."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.slowness = AS_EVER

    def served(self, seconds: float) -> Served:
        assert seconds >= LOOK_SECONDS
        return Served(self.rate, self.slowness)

    def leave(self) -> None:
        """Get nothing any more."""
        self.rate = 0.0


async def seconds_of(pace: Pace, *, megabytes: int, at_once: int = 1) -> float:
    """Return how long it takes to move so much, by several at once."""
    begun = LoopClock().monotonic()

    async def move() -> None:
        for _ in range(megabytes // at_once):
            await pace.moving(MB)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(move() for _ in range(at_once)))
    return LoopClock().monotonic() - begun


async def looked(pace: Pace, times: int) -> None:
    """Have it look so often."""
    for _ in range(times):
        await asyncio.sleep(LOOK_SECONDS)
        assert pace.is_beside is (pace.allowed > 0)


@virtual
async def test_alone_it_waits_for_nothing() -> None:
    pace = Pace(LoopClock(), nobody)
    await looked(pace, 2)
    assert not pace.is_beside
    assert await seconds_of(pace, megabytes=1000, at_once=10) < 0.2


@virtual
async def test_beside_clients_it_moves_what_they_leave() -> None:
    clients = Counted()
    pace = Pace(LoopClock(), clients.served)
    clients.rate = BUSY
    await looked(pace, 30)
    seconds = await seconds_of(pace, megabytes=400, at_once=8)
    assert 0.9 < seconds * SHARE_MAX * BUSY / (400 * MB) < 1.1
    clients.slowness = 1.1 * SLOWER * AS_EVER
    await looked(pace, 1)
    assert pace.allowed == int(SHARE_MAX * BUSY / 2)


@virtual
async def test_slow_as_they_are_it_gets_on_all_the_same() -> None:
    clients = Counted()
    pace = Pace(LoopClock(), clients.served)
    clients.rate, begun = BUSY, LoopClock().monotonic()
    for _ in range(100):
        clients.slowness *= 2
        await pace.moving(MB)
    assert LoopClock().monotonic() - begun < 1.1 * 100 * MB / BESIDE_BYTES_MIN


@virtual
async def test_what_has_one_copy_left_goes_faster_but_not_past_the_setting() -> None:
    clients = Counted()
    clients.rate = BUSY
    for rate_max, expected in ((0, URGENT_BYTES_MIN), (2 * MB, 2 * MB)):
        pace = Pace(LoopClock(), clients.served, told=lambda: 1.0, rate_max=rate_max)
        begun = LoopClock().monotonic()
        for _ in range(41):
            await pace.moving(MB, urgent=True)
        assert LoopClock().monotonic() - begun == pytest.approx(40 * MB / expected)


@virtual
async def test_when_they_are_gone_nothing_is_held_back_longer() -> None:
    clients = Counted()
    pace = Pace(LoopClock(), clients.served)
    clients.rate = BUSY
    await looked(pace, 2)
    await seconds_of(pace, megabytes=40, at_once=40)
    clients.rate = 0
    await seconds_of(pace, megabytes=1)
    await asyncio.sleep(LOOK_SECONDS)
    assert not pace.is_beside
    assert await seconds_of(pace, megabytes=100) < 0.2


@virtual
async def test_beside_clients_it_looks_around_for_a_part_of_the_time() -> None:
    clients = Counted()
    pace = Pace(LoopClock(), clients.served)
    for rate, share in ((0.0, 1.0), (BUSY, LOOKING_SHARE_MAX), (0.0, 1.0)):
        clients.rate = rate
        await looked(pace, 1)
        begun = LoopClock().monotonic()
        for _ in range(10):
            await asyncio.sleep(0.01)
            await pace.looking(0.01, lambda: False)
        assert LoopClock().monotonic() - begun == pytest.approx(0.1 / share)


@virtual
async def test_it_rests_no_longer_than_there_are_clients_and_nothing_else_is_due() -> None:
    clients, loop = Counted(), asyncio.get_running_loop()
    pace = Pace(LoopClock(), clients.served)
    due = asyncio.Event()
    for ends, seconds in ((lambda: None, 540), (clients.leave, 20), (due.set, 20)):
        clients.rate = BUSY
        await looked(pace, 2)
        loop.call_later(20, ends)
        begun = LoopClock().monotonic()
        await pace.looking(60, due.is_set)
        assert LoopClock().monotonic() - begun == pytest.approx(seconds, abs=2 * LOOK_SECONDS)


@virtual
async def test_a_setting_and_other_servers_limit_it() -> None:
    for pace in (
        Pace(LoopClock(), nobody, rate_max=MB),
        Pace(LoopClock(), nobody, told=lambda: float(MB)),
    ):
        assert 9 <= await seconds_of(pace, megabytes=10) < 11
        assert pace.allowed == 0, "of its own clients it says what is so"


def test_how_clients_are_served_is_counted() -> None:
    traffic = TrafficCounters()
    clients = Clients(traffic)
    assert clients.served(1.0) == Served(0.0, None)
    for _ in range(4):
        traffic.count(Flow.TO_CLIENTS, MB)
        traffic.count_pulled(MB, 0.5)
    traffic.count(Flow.FROM_CLIENTS, 2 * MB)
    assert clients.served(2.0) == Served(3.0 * MB, 2.0 / (4 * (MB + PIECE_BYTES)))
    assert clients.served(2.0) == Served(0.0, None)


@virtual
async def test_reading_back_of_its_own_accord_has_a_limit() -> None:
    pace = Pace(LoopClock(), nobody)
    begun = LoopClock().monotonic()
    for _ in range(100):
        await pace.reading_back(MB)
    seconds = LoopClock().monotonic() - begun
    assert 0.9 < seconds * READ_BACK_BYTES_MAX / (100 * MB) < 1.1
