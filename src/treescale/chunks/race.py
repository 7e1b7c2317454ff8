"""Requests for one thing on their way to several stores at once; whoever leaves ends them all."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from treescale.clock import Clock
from treescale.errors import Failed

_Result = TypeVar("_Result")
_Ask = Callable[[], Coroutine[object, object, _Result]]
"""Called when the request begins: one cancelled before that has left nothing behind."""


@dataclass(slots=True)
class _Request:
    name: str
    begun: float
    late: bool = False


class Race(Generic[_Result]):
    """An async context manager; within it, ask stores and take their answers as they come.

    An error of our tree is an answer; any other (a bug) is raised where the race is left. Nothing
    of it runs any longer then.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests: dict[asyncio.Task[_Result | Failed], _Request] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the requests that still run, and return when they have ended."""
        for task in self._requests:
            task.cancel()
        try:
            # Told of no exception, the group adds none of its own.
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def start(
        self, name: str, request: _Ask[_Result], ended: Callable[[str], None] | None = None
    ) -> None:
        """Ask the store of this name; `ended` hears when that is over, even if it never began."""
        task = self._group.create_task(_answer(request))
        self._requests[task] = _Request(name, self._clock.monotonic())
        if ended is not None:
            task.add_done_callback(lambda _: ended(name))

    @property
    def running(self) -> list[str]:
        """Return the stores that have not answered, in the order they were asked."""
        return [request.name for request in self._requests.values()]

    @property
    def prompt(self) -> list[str]:
        """Return those of them that are not late."""
        return [request.name for request in self._requests.values() if not request.late]

    async def answers(self, seconds: float) -> list[tuple[str, _Result | Failed]]:
        """Wait so long for at least one answer; return what came, in the order of asking."""
        done, _ = await asyncio.wait(
            self._requests, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
        )
        finished = [task for task in self._requests if task in done]
        return [(self._requests.pop(task).name, task.result()) for task in finished]

    def seconds_until_late(self, patience: float) -> float:
        """Return when the first that is not late will have run for `patience` seconds."""
        begun = [request.begun for request in self._requests.values() if not request.late]
        return min(begun, default=float("inf")) + patience - self._clock.monotonic()

    def overdue(self, patience: float) -> list[str]:
        """Return those that have run for `patience` seconds by now; from now on they are late."""
        now = self._clock.monotonic()
        found = [
            request
            for request in self._requests.values()
            if not request.late and now - request.begun >= patience
        ]
        for request in found:
            request.late = True
        return [request.name for request in found]


async def _answer(request: _Ask[_Result]) -> _Result | Failed:
    try:
        return await request()
    except Failed as error:
        return error
