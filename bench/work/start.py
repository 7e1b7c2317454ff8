"""Starts: from the command to a first answer, with nothing stored; then the first pull after one.

Ours also with 100,000 blobs in the database. The answer is a 200: of our /readyz, which says that
requests are served, or of a peer's /v2/. The layer pulled is in the page cache, as a server's
restart leaves it; what is made anew is the server.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers import treescale
from bench.registries import NAMED
from bench.rounds import Start, interleaved, starts
from bench.rows import Effort, Row, at_least, at_most
from bench.rowsets import add_blobs
from bench.wire import pull, token_for
from bench.work.layers import Layer

BLOBS: Final = 100_000
SECONDS_MAX: Final = 2.0
EMPTY: Final = "start to the first answer, nothing stored"
FIRST: Final = "first pull of a layer after a restart"


@dataclass(frozen=True, slots=True)
class Starting:
    """The steps of a round; each registry has a directory with nothing and one with the layer."""

    place: Path
    starts: Mapping[str, Start]
    layer: Layer

    def push(self, name: str) -> None:
        """Have the layer stored, and what a first start makes in both directories."""
        with self.starts[name](self.place / f"{name} empty"):
            pass
        with self.starts[name](self.place / name) as target:
            self.layer.push(target, 0)

    def start(self, name: str, _: int) -> Mapping[str, float]:
        """Start with nothing stored."""
        began = time.perf_counter()
        with self.starts[name](self.place / f"{name} empty"):
            return {EMPTY: time.perf_counter() - began}

    def pull(self, name: str, _: int) -> Mapping[str, float]:
        """Start with the layer, and pull it once."""
        with self.starts[name](self.place / name) as target:
            token = token_for(target)
            began = time.perf_counter()
            pull(target, token, self.layer.digest, self.layer.size)
            return {FIRST: self.layer.size / (time.perf_counter() - began) / 1e6}


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure seconds, and MB/s."""
    place = root / "start"
    place.mkdir()
    starting = Starting(place, starts(effort), Layer(effort.layer_bytes))
    names = list(starting.starts)
    for name in names:
        starting.push(name)
    figures = interleaved(names, effort.rounds, [starting.start, starting.pull])
    limit = at_most(SECONDS_MAX, own=True)
    return [
        figures.row(EMPTY, "s", limit, 2),
        _with_blobs(place / "treescale blobs", effort),
        figures.row(FIRST, "MB/s", at_least(1.0, NAMED)),
    ]


def _with_blobs(directory: Path, effort: Effort) -> Row:
    with treescale(directory):
        pass
    blobs = effort.of(BLOBS)
    add_blobs(directory, blobs)
    seconds: list[float] = []
    for _ in range(effort.rounds + 1):  # the first one after they were added is not counted
        began = time.perf_counter()
        with treescale(directory):
            seconds.append(time.perf_counter() - began)
    bar = at_most(SECONDS_MAX, own=True)
    return Row(f"start to ready, {blobs:,} blobs", "s", bar, seconds[1:], digits=2)
