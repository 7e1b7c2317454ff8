"""One thing switched on and off in one process, in short turns: what it costs of the server's CPU.

Two processes of the same program differ by several per cent for as long as they live, and the
machine drifts within seconds. So one process is asked, which does it and leaves it in turns, from
one signal to the next; and the figures of one alternation, which has a server of its own, are held
against each other.
"""

import os
import signal
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random  # noqa: TID251  seeded: the same interval each time
from typing import Final

from bench.peers import treescale
from bench.processes import at_once, cpu_seconds, tree
from bench.rows import Effort, Row, at_most
from bench.wire import Connection, Target, token_for
from bench.work.tiny import push_image
from treescale.cli.main import main
from treescale.server import worker
from treescale.server.shared import Shared

ON: Final = signal.SIGUSR1
OFF: Final = signal.SIGUSR2
TURNS: Final = 40
"""In which the work is done, with it and without."""
TURNS_UNCOUNTED: Final = 2
"""Before those, for all to be warm."""
DEARER_TIMES_MAX: Final = 1.03
RESAMPLED: Final = 10_000
ALONE: Final = ("--workers", "1")
TAG: Final = "bench"


@dataclass(frozen=True, slots=True)
class Switched:
    """A server in which something is switched, and the work that shows what it costs."""

    module: str
    """What is run; its worker heeds `ON` and `OFF`."""
    work: Callable[[Target, str, int], None]
    """What a client does so many times, with a token."""
    times: int
    """Of one figure, by all clients together."""
    clients: int
    flags: Callable[[], Sequence[str]] = tuple
    """What else the server is started with; asked for once for each server."""


def run_switched(turn: Callable[[bool], None], *made: tuple[object, str, object]) -> None:
    """Run `treescale` with what was made in the place of attributes; signals call `turn`."""
    begin = worker.begin_to_count

    def begun(shared: Shared) -> None:
        begin(shared)
        for number in (ON, OFF):  # the process is forked no more
            signal.signal(number, lambda got, _: turn(got == ON))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {ON, OFF})

    for place, name, value in ((worker, "begin_to_count", begun), *made):
        setattr(place, name, value)
    main()


def rows(root: Path, effort: Effort, what: str, names: tuple[str, str], of: Switched) -> list[Row]:
    """Measure alternations; return CPU for a thousand times with it and without, and the bound."""
    found = [_alternation(root / str(number), effort, of) for number in range(effort.rounds)]
    on, off = [one for one, _ in found], [other for _, other in found]
    bar = at_most(DEARER_TIMES_MAX)
    upper = "the same, upper end of the mean ratio's 95 % interval"
    return [
        Row(f"{what}, {names[0]}", "ms", bar, on, off, 1, names[1]),
        Row(upper, "times", bar, [highest(on, off)], digits=3),
    ]


def highest(on: list[float], off: list[float]) -> float:
    """Return the upper end of the 95 % interval of the mean ratio, by resampling."""
    ratios = [one / other for one, other in zip(on, off, strict=True)]
    chance = Random(1)  # noqa: S311  nothing here is a secret
    means = [statistics.fmean(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED)]
    return statistics.quantiles(means, n=40)[-1]


def _alternation(directory: Path, effort: Effort, of: Switched) -> tuple[float, float]:
    """Return milliseconds of CPU for a thousand times the work, with it and without."""
    each = max(1, effort.of(of.times) // TURNS // of.clients)
    spent = {ON: 0.0, OFF: 0.0}
    with treescale(directory, module=of.module, flags=(*ALONE, *of.flags())) as target:
        token = token_for(target)
        with Connection(target, token) as connection:
            push_image(connection, target, TAG)
        _, worker = tree(target.pid)
        for turn in range(-TURNS_UNCOUNTED, TURNS):
            for switch in spent if turn % 2 else reversed(spent):
                os.kill(worker, switch)
                before = cpu_seconds(worker)
                at_once([partial(of.work, target, token, each)] * of.clients)
                if turn >= 0:
                    spent[switch] += cpu_seconds(worker) - before
    on, off = (1_000_000 * seconds / (each * of.clients * TURNS) for seconds in spent.values())
    return on, off
