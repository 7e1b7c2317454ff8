"""What a process hears of the log: hints to look sooner. Whoever waits for one waits for a bit."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from treescale.events.hints import Hint


class Signal:
    """Something that happens now and then, and any number of tasks wait for."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Event] = set()

    def set(self) -> None:
        """Wake all who listen."""
        for each in self._listeners:
            each.set()

    @contextmanager
    def listening(self) -> Iterator["Listener"]:
        """Listen within the block: nothing that happens from now on is missed."""
        heard = asyncio.Event()
        self._listeners.add(heard)
        try:
            yield Listener(heard)
        finally:
            self._listeners.discard(heard)


class Listener:
    """One task that listens."""

    def __init__(self, heard: asyncio.Event) -> None:
        self._heard = heard

    async def wait(self, seconds: float) -> bool:
        """Wait until it happens, or for so long; say whether it has since the last wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True


class Signals:
    """What this process hears of the log."""

    def __init__(self) -> None:
        self.recorded = Signal()
        """A process of this server has recorded an event, which has no number yet."""
        self.grown = Signal()
        """The log has grown, by whomever."""
        self.hints = {hint: Signal() for hint in Hint}
        """Something has happened that servers themselves look for."""
