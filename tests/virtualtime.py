"""An event loop whose time jumps: what waits for a timer waits for nothing, in the right order.

A loop with nothing to run and no timer would wait for ever; here that is an error, so a test of
something that hangs ends at once.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")
EPOCH = 1_700_000_000.0
THINKING_SECONDS = 1e-9
"""What each turn of the loop takes, so that what waits for the time to be past something ends."""


class NothingToWaitFor(BaseException):
    """Every task waits for another, and no timer is set."""


class _JumpingSelector(selectors.SelectSelector):
    """Polls the loop's own pipe, and moves time where the loop would sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise NothingToWaitFor
            self.seconds += max(0.0, timeout) + THINKING_SECONDS
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that sleeps by moving its clock. For code without threads and sockets."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._jumping.seconds


class LoopClock:
    """The clock of the loop that runs."""

    def now(self) -> float:
        """Return wall-clock seconds."""
        return EPOCH + self.monotonic()

    def monotonic(self) -> float:
        """Return the loop's seconds."""
        return asyncio.get_running_loop().time()


def virtually(main: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """Run `main()` in a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def virtual(test: Callable[_Given, Coroutine[Any, Any, None]]) -> Callable[_Given, None]:
    """Make a test of a coroutine function: it runs in virtual time."""

    @wraps(test)
    def run(*args: _Given.args, **kwargs: _Given.kwargs) -> None:
        virtually(partial(test, *args, **kwargs))

    return run
