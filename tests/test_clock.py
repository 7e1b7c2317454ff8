"""The database's time is carried on by the monotonic clock, whatever the machine's clock says."""

import pytest

from treescale.clock import DatabaseClock
from treescale.errors import DatabaseUnavailable


class Machine:
    """A machine whose two clocks go on together, and whose wall clock can be set."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.since_boot = 100.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_boot

    def goes_on(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds


class Told:
    """A database that takes so long to answer, and says its time at this part of that."""

    def __init__(self, machine: Machine, now: float) -> None:
        self._machine = machine
        self._ahead = now - machine.since_boot
        self.seconds = 0.0
        self.at = 0.5

    def set(self, by: float) -> None:
        self._ahead += by

    async def ask(self) -> float:
        self._machine.goes_on(self.seconds * self.at)
        told = self._machine.since_boot + self._ahead
        self._machine.goes_on(self.seconds * (1 - self.at))
        return told


@pytest.mark.parametrize("off", [-600.0, -30.0, 0.0, 30.0, 600.0])
async def test_a_machine_s_clock_does_not_matter(off: float) -> None:
    machine = Machine(5000.0 + off)
    database, clock = Told(machine, 5000.0), DatabaseClock(machine)
    assert clock.now() == 5000.0 + off, "nothing was read yet"
    await clock.read(database.ask)
    assert clock.now() == 5000.0
    machine.goes_on(7)
    assert (clock.now(), clock.monotonic()) == (5007.0, 107.0)
    machine.wall += 600.0
    assert clock.now() == 5007.0, "it was set while we run"


@pytest.mark.parametrize("by", [-600.0, 600.0])
async def test_the_database_s_is_followed_when_it_is_set(by: float) -> None:
    machine = Machine(0.0)
    database, clock = Told(machine, 5000.0), DatabaseClock(machine)
    await clock.read(database.ask)
    database.set(by)
    await clock.read(database.ask)
    assert clock.now() == 5000.0 + by


@pytest.mark.parametrize("at", [0.0, 0.3, 1.0])
async def test_a_slow_answer_moves_nothing_that_a_quick_one_said(at: float) -> None:
    machine = Machine(0.0)
    database, clock = Told(machine, 5000.0), DatabaseClock(machine)
    database.seconds, database.at = 8.0, at
    await clock.read(database.ask)
    assert abs(clock.now() - 5008.0) <= 4.0
    database.seconds = 0.0
    await clock.read(database.ask)
    assert clock.now() == 5008.0
    database.seconds = 8.0
    await clock.read(database.ask)
    assert clock.now() == 5016.0


async def test_what_fails_changes_nothing() -> None:
    machine = Machine(0.0)
    database, clock = Told(machine, 5000.0), DatabaseClock(machine)
    await clock.read(database.ask)

    async def away() -> float:
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        await clock.read(away)
    machine.goes_on(3600)
    assert clock.now() == 8600.0
