"""The watch over a database that may go away: a circuit around its calls, and the probes.

`outage` decides, this waits. While `run` runs and the database is away, every call is refused at
once, and those under way are ended: reads can be answered from memory and writes with a 503 without
anybody's patience being tried. While it does not run, each call finds out for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable
from treescale.log import get_logger
from treescale.metadata.engine.outage import OutageDetector, State

LOOK_SECONDS: Final = 0.1
"""How often `run` looks whether anything is heard."""
PROBE_SECONDS_MAX: Final = 1.0
"""A probe that takes longer has failed: an established server accepts and answers in far less."""
ANSWER_SECONDS_MAX: Final = 75.0
"""What no call may take, whatever it waits for: 30 s for a connection, 30 s for its statement, or
ten for a lock; then its connection is dead."""

Result = TypeVar("Result")


class Availability:
    """Whether one database is there, as one process sees it."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        cut: Callable[[], None],
        is_silence: Callable[[Exception], bool],
        clock: Clock,
    ) -> None:
        """`probe` returns when the database answers; `cut` drops every connection at once.

        `is_silence` says of an error whether it means that no answer came.
        """
        self._probe = probe
        self._cut = cut
        self._is_silence = is_silence
        self._clock = clock
        self._outage = OutageDetector()
        self._open: dict[asyncio.Timeout, float] = {}
        self._suspected = asyncio.Event()

    def check(self) -> None:
        """Raise DatabaseUnavailable when the database is known to be away."""
        if self._outage.state is State.AWAY:
            raise _away()

    async def during(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `work` does; raises DatabaseUnavailable at once while the database is away.

        Also in the middle, when it turns out to be away; what became of a write is then unknown.
        """
        self.check()
        limit = asyncio.timeout(ANSWER_SECONDS_MAX)
        self._open[limit] = self._clock.monotonic()
        try:
            async with limit:
                result = await work()
        except Exception as error:
            if limit.expired() or self._is_silence(error):
                self._outage.failed()
                self._suspected.set()
            else:
                self._outage.heard(self._clock.monotonic())
            if limit.expired():
                raise _away() from error
            raise
        finally:
            del self._open[limit]
        self._outage.heard(self._clock.monotonic())
        return result

    async def run(self) -> None:
        """Watch until cancelled: background work of whoever serves."""
        try:
            while True:
                if self._outage.is_probe_due(self._clock.monotonic(), self._oldest()):
                    await self._ask()
                else:
                    await self._pause()
        finally:
            self._outage = OutageDetector()

    def _oldest(self) -> float | None:
        return next(iter(self._open.values()), None)

    async def _pause(self) -> None:
        """Wait for a moment, or until a call has failed."""
        self._suspected.clear()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._suspected.wait()
        except TimeoutError:
            return

    async def _ask(self) -> None:
        """Send a probe, and do what follows from its end."""
        was = self._outage.state
        try:
            async with asyncio.timeout(PROBE_SECONDS_MAX):
                await self._probe()
        except (DatabaseUnavailable, TimeoutError) as error:
            self._outage.probed(self._clock.monotonic(), answered=False)
            if was is not State.AWAY:
                get_logger().warning("database.away", error=str(error) or "no answer")
                self._end_calls()
        else:
            self._outage.probed(self._clock.monotonic(), answered=True)
            if was is State.AWAY:
                get_logger().info("database.back")

    def _end_calls(self) -> None:
        """Cut the connections, and end what waits for them."""
        self._cut()
        now = asyncio.get_running_loop().time()
        for limit in self._open:
            if not limit.expired():  # else it is ending already, and asyncio raises RuntimeError
                limit.reschedule(now)


def _away() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "the database does not answer: check that it runs and can be reached"
    )
