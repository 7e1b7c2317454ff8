"""Numbers what is committed: one worker of each server does, for its own server's writes at once.

Any of them may number any event, and several at a time lose none (`metadata/events/log`). So
nobody has to be elected, and when a server dies another one numbers what it has left, within a
second. On SQLite events have their numbers already, and only what a restore brought has none.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from treescale.errors import DatabaseUnavailable
from treescale.events.signals import Signals
from treescale.metadata.events.log import NUMBERED_AT_ONCE_MAX, EventLog

POLL_SECONDS: Final = 1.0
"""How often it is looked for what nobody told of: one search of an index."""
PAUSE_SECONDS: Final = 0.03
"""Between two transactions that number: what is recorded meanwhile shares the next."""
PAUSE_SECONDS_MAX: Final = 0.5
"""The same while nobody follows: then a push pays next to nothing for it."""


class Publisher:
    """Gives events their numbers, until cancelled; `grown` is told each time the log has grown.

    `is_followed` says whether anybody waits for them.
    """

    def __init__(
        self,
        log: EventLog,
        signals: Signals,
        grown: Callable[[], None],
        is_followed: Callable[[], bool],
    ) -> None:
        self._log = log
        self._signals = signals
        self._grown = grown
        self._is_followed = is_followed

    async def run(self) -> None:
        """Give numbers to what waits, then to whatever is told of or found."""
        with self._signals.recorded.listening() as recorded:
            told = True
            while True:
                try:
                    await self._look(told=told)
                except DatabaseUnavailable:
                    # Nothing is recorded meanwhile, and it is looked at as often as ever.
                    told = True
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    told = await recorded.wait(POLL_SECONDS)

    async def _look(self, *, told: bool) -> None:
        if told or await self._log.has_waiting():
            await self._number()
            await asyncio.sleep(PAUSE_SECONDS if self._is_followed() else PAUSE_SECONDS_MAX)

    async def _number(self) -> None:
        while numbered := await self._log.number():
            self._grown()
            if numbered < NUMBERED_AT_ONCE_MAX:
                return
