"""How the processes of a server wake each other: a byte on an abstract socket for each.

A hint and no more: one that is lost is made good by the next look. Whoever sends never waits. A
process takes the first name that no other has, and the kernel frees it when the process ends. The
names are no secret; a stranger on this machine who rings has processes look for nothing.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from treescale.metrics.shared_counters import HUNG_WORKERS_MAX

ABSENT_SECONDS: Final = 0.5
"""A worker that has just started misses hints for so long at most."""
READ_AT_ONCE: Final = 64


class Bell:
    """The bell of a worker, and those of its fellow workers; a context manager.

    `boot` is a text that the workers of this start share, and nobody else has.
    """

    def __init__(self, boot: str, workers: int) -> None:
        places = range(workers + HUNG_WORKERS_MAX)
        self._names = [f"\0treescale-{boot}-bell-{number}" for number in places]
        self._others: list[str] = []
        self._mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._heard: Callable[[bytes], None] = _nobody
        self._absent_until: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Take a name."""
        for name in self._names:
            with suppress(OSError):
                self._mine.bind(name)
                self._others = [other for other in self._names if other != name]
                return self
        raise AssertionError("there are more processes than workers")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of it."""
        if self._heard is not _nobody:
            asyncio.get_running_loop().remove_reader(self._mine.fileno())
        self._mine.close()

    def listen(self, heard: Callable[[bytes], None]) -> None:
        """Tell what the others ring, a byte each, from now on."""
        self._heard = heard
        asyncio.get_running_loop().add_reader(self._mine.fileno(), self._read)

    def ring(self, word: bytes) -> None:
        """Ring the bells of all others; waits for nobody.

        Who was not there is left out for `ABSENT_SECONDS`: most names are for hung workers' heirs.
        """
        now = asyncio.get_running_loop().time()
        for name in self._others:
            if self._absent_until.get(name, now) > now:
                continue
            try:
                self._mine.sendto(word, name)
            except ConnectionRefusedError:
                self._absent_until[name] = now + ABSENT_SECONDS
            except OSError:  # it has been rung enough
                continue

    def _read(self) -> None:
        words = set[bytes]()
        with suppress(BlockingIOError):
            for _ in range(READ_AT_ONCE):
                words.add(self._mine.recv(1))
        for word in words:
            self._heard(word)


def _nobody(_: bytes) -> None:
    """Nobody listens."""
