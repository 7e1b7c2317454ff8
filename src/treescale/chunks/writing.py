"""Putting a chunk on its stores: all at once, acknowledged at the write quorum (faults.md G2, G3).

`writeplan` decides who is asked; this waits. A store that has not answered after some seconds is
not waited for any more: a handoff is asked beside it. Once the quorum is there, the others get a
moment longer, and what they did not finish by then is owed to them.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, Protocol, runtime_checkable

from treescale.chunks.latency import late_seconds
from treescale.chunks.race import Race
from treescale.chunks.spread import Spread
from treescale.chunks.store import Bytes, chunk_id_of
from treescale.chunks.writeplan import Placed, WritePlan
from treescale.errors import Corrupt, Failed, NotEnoughStores, StoreFull, Unreachable

late_seconds_max: Final = 2.0
"""A store that has not answered by then is asked no longer alone, unless all are slow."""
straggler_seconds_max: Final = 0.5
"""What the homes that are slower than the write quorum get on top of it."""
request_seconds_max: Final = 30.0
"""Whatever was asked, and whoever has not answered: by then it has failed."""


@runtime_checkable
class PlacingStore(Protocol):
    """A store that says where it put a chunk, so that what is owed can be written down."""

    async def place(self, chunk: bytes, data: Bytes) -> Placed:
        """Do as `ChunkStore.put` does, and say where the chunk is."""
        ...


class Writing:
    """One chunk being put on the stores of a spread."""

    def __init__(self, spread: Spread, chunk: bytes, data: Bytes) -> None:
        self._spread = spread
        self._chunk = chunk
        self._data = data
        self._plan: WritePlan = spread.write_plan(chunk)
        self._failures: dict[str, Failed] = {}
        self._end = spread.now() + request_seconds_max

    async def run(self) -> Placed:
        """Return where the chunk is durable.

        Raises NotEnoughStores (StoreFull when that is all that is wrong) as soon as the write
        quorum cannot be had, and Corrupt when the bytes are not the chunk.
        """
        if len(self._spread.stores) == 1:
            return await self._alone()
        async with Race[None](self._spread.clock) as race:
            while self._is_open(race):
                await self._wait(race)
            running = race.running
        return self._outcome(running)

    async def _alone(self) -> Placed:
        """Ask the only store there is; nobody else can be asked beside it, so no task does it."""
        for name in self._plan.due():
            try:
                await self._spread.stores[name].put(self._chunk, self._data)
            except Failed as error:
                self._fail(name, error)
            else:
                self._plan.took(name)
        return self._outcome(())

    def _outcome(self, running: Iterable[str]) -> Placed:
        placed = self._plan.placed()
        if not self._plan.is_acknowledged:
            raise shortage(self._spread, (*placed.stores, *running), self._failures)
        return placed

    def _is_open(self, race: Race[None]) -> bool:
        """Ask whoever is due, give up whoever is out of time; say whether to wait for more."""
        for name in self._plan.due():
            race.start(name, partial(self._spread.stores[name].put, self._chunk, self._data))
        if self._spread.now() >= self._end:
            for name in race.prompt:
                self._give_up(name)
            return False
        return bool(race.running) and not self._plan.is_hopeless

    async def _wait(self, race: Race[None]) -> None:
        """Take the next answers, or notice who is late."""
        had = self._plan.is_acknowledged
        patience = self._patience()
        left = min(self._end - self._spread.now(), race.seconds_until_late(patience))
        for name, answer in await race.answers(left):
            if answer is None:
                self._plan.took(name)
            else:
                self._fail(name, answer)
        if self._plan.is_acknowledged and not had:
            self._end = self._spread.now() + straggler_seconds_max
        for name in race.overdue(patience):
            self._plan.late(name)
            self._give_up(name)

    def _patience(self) -> float:
        """Return after how many seconds a store is late."""
        now, stores = self._spread.now(), self._spread.stores
        means = (stores[name].figures.writes.mean(now) for name in self._plan.homes)
        return late_seconds(late_seconds_max, means)

    def _fail(self, name: str, error: Failed) -> None:
        if isinstance(error, Corrupt) and chunk_id_of(self._data) != self._chunk:
            raise error
        self._failures[name] = error
        self._plan.failed(name)

    def _give_up(self, name: str) -> None:
        self._failures[name] = Unreachable(f"store {name} did not answer in time")
        self._spread.stores[name].figures.give_up(self._spread.now())


def shortage(
    spread: Spread, able: tuple[str, ...], failures: Mapping[str, Failed]
) -> NotEnoughStores | StoreFull:
    """Return why the stores that are able to take a copy are too few, or too close together."""
    asked = (*able, *failures)
    down = [
        f"store {label.store_id} is down"
        for label in spread.table.layout.stores
        if label.store_id not in asked and not spread.health.is_up(label.store_id)
    ]
    domains = spread.domains
    message = (
        f"{len({domains.of(name) for name in able})} of {domains.quorum} copies in different "
        f"{domains.level} are possible: " + "; ".join([*map(str, failures.values()), *down])
    )
    full = not down and all(isinstance(error, StoreFull) for error in failures.values())
    return StoreFull(message) if full else NotEnoughStores(message)
