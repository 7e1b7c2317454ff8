"""Being told to end: at any time but in the middle of what must be undone, and once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A context manager: within it SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt.

    Also where SIGINT was ignored, as in a job in the background of a shell. The first one does;
    what comes after it must not disturb what is undone then.
    """

    def __init__(self) -> None:
        self._before: list[Any] = []
        self._held = False
        self._came = False

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._before = [signal.signal(number, self._hear) for number in _ENDS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in zip(_ENDS, self._before, strict=True):
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do what is within to its end; raises KeyboardInterrupt after it, if that came."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            raise KeyboardInterrupt

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        first, self._came = not self._came, True
        if first and not self._held:
            raise KeyboardInterrupt
