"""The server's CPU for 1,000 small requests, counted and not counted, in alternations.

Two servers of one worker each, which differ in nothing else, are asked for a manifest by tag on
kept connections. The machine drifts, so the figures of one alternation are held against each other.
"""

import statistics
from functools import partial
from pathlib import Path
from random import Random  # noqa: TID251  seeded: the same interval each time
from typing import Final

from bench.peers import treescale
from bench.processes import at_once, cpu_seconds
from bench.rows import Effort, Row, at_most
from bench.wire import Connection, Target, token_for
from bench.work.tiny import MANIFEST_TYPE, push_image

REQUESTS: Final = 20_000
"""Of one figure: the kernel tells of CPU in hundredths of a second."""
CLIENTS: Final = 4
TAG: Final = "bench"
DEARER_TIMES_MAX: Final = 1.03
RESAMPLED: Final = 10_000
ALONE: Final = ("--workers", "1")
COUNTED: Final = "treescale.cli.main"
UNCOUNTED: Final = "bench.metrics.uncounted"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure both in turns; the rounds are alternations, after one that is not counted."""
    with (
        treescale(root / "counted", module=COUNTED, flags=ALONE) as counted,
        treescale(root / "uncounted", module=UNCOUNTED, flags=ALONE) as uncounted,
    ):
        both = (counted, uncounted)
        for target in both:
            with Connection(target, token_for(target)) as connection:
                push_image(connection, target, TAG)
        found: dict[int, list[float]] = {target.port: [] for target in both}
        requests = max(CLIENTS, effort.of(REQUESTS))
        for number in range(effort.rounds + 1):
            for target in both if number % 2 else both[::-1]:
                took = _milliseconds(target, requests)
                if number:
                    found[target.port].append(took)
        on, off = found[counted.port], found[uncounted.port]
    return [
        Row(
            "server CPU for 1,000 small requests, counted",
            "ms",
            at_most(DEARER_TIMES_MAX),
            on,
            off,
            1,
            "not counted",
        ),
        Row(
            "the same, upper end of the mean ratio's 95 % interval",
            "times",
            at_most(DEARER_TIMES_MAX),
            [highest(on, off)],
            digits=3,
        ),
    ]


def highest(on: list[float], off: list[float]) -> float:
    """Return the upper end of the 95 % interval of the mean ratio, by resampling."""
    ratios = [one / other for one, other in zip(on, off, strict=True)]
    chance = Random(1)  # noqa: S311  nothing here is a secret
    means = [statistics.fmean(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED)]
    return statistics.quantiles(means, n=40)[-1]


def _milliseconds(target: Target, requests: int) -> float:
    """Return what 1,000 requests take of the server's CPU."""
    token, before = token_for(target), cpu_seconds(target.pid)
    at_once([partial(_ask, target, token, requests // CLIENTS)] * CLIENTS)
    return 1_000_000 * (cpu_seconds(target.pid) - before) / requests


def _ask(target: Target, token: str, requests: int) -> None:
    path, headers = f"/v2/{target.repository}/manifests/{TAG}", f"Accept: {MANIFEST_TYPE}\r\n"
    with Connection(target, token) as connection:
        for _ in range(requests):
            connection.expect(200, "GET", path, headers)
