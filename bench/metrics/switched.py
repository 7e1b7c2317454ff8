"""`treescale` whose worker counts for `/metrics`, and does not from one signal to the next."""

from collections.abc import Callable
from typing import Any

from bench.turns import run_switched
from treescale.http.connections.connection import ConnectionServer
from treescale.http.request_log import RequestLog
from treescale.metadata.engine import connect
from treescale.metadata.engine.connections import Connections
from treescale.server import serving


class Switch:
    """What counts in a process: each is told of the meters, or of none."""

    def __init__(self) -> None:
        self._counting: list[tuple[Any, Any]] = []
        self._is_on = True

    def of(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same, whose products are switched."""

        def made(*args: Any, **options: Any) -> Any:
            counts = make(*args, **options)
            self._counting.append((counts, counts._meters))  # noqa: SLF001  no user has a switch
            self.turn(self._is_on)
            return counts

        return made

    def log(self, meters: Any, *args: Any) -> RequestLog:
        """Return what hears of the requests of one connection: none lives on past a switch."""
        return RequestLog(meters if self._is_on else None, *args)

    def turn(self, is_on: bool) -> None:  # noqa: FBT001  a signal says which
        """Count from now on, or do not."""
        self._is_on = is_on
        for counts, meters in self._counting:
            counts._meters = meters if is_on else None  # noqa: SLF001


if __name__ == "__main__":
    switch = Switch()
    run_switched(
        switch.turn,
        (serving, "ConnectionServer", switch.of(ConnectionServer)),
        (connect, "Connections", switch.of(Connections)),
        (serving, "RequestLog", switch.log),
    )
