"""Large layers: pushed by one client, pulled by 1, 3 and 8 at once; what a GB costs the server.

The seconds of CPU are those of the server's processes alone, before and after, per GB of layer.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench.processes import at_once, cpu_seconds
from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least, at_most
from bench.wire import (
    PIECE_BYTES,
    Connection,
    Target,
    framed,
    framed_places,
    pull,
    push,
    push_whole,
    token_for,
)
from bench.work import gzipped

STREAMS: Final = (1, 3, 8)
PUSH: Final = "push"
CPU_PUSHED: Final = "CPU of the server, pushed"
CPU_PULLED: Final = "CPU of the server, pulled"
CPU_TIMES_MAX: Final = 1.25
"""Of the best peer's, for a GB pushed: it syncs nothing."""
DRAWN_AT_ONCE_BYTES: Final = 1 << 20


def fill_at_random(place: memoryview) -> None:
    """Write random bytes."""
    for at in range(0, len(place), DRAWN_AT_ONCE_BYTES):
        part = place[at : at + DRAWN_AT_ONCE_BYTES]
        part[:] = os.urandom(len(part))


@dataclass(slots=True)
class Layer:
    """New bytes in each round, the same for all registries; random, or what `fill` writes.

    They are written over those of the round before: memory given back here and taken by a server
    afterwards can cost that server ten times a copy, where a hypervisor has to find it again.
    """

    size: int
    fill: Callable[[memoryview], None] = fill_at_random
    whole: bool = False
    """Pushed by one PUT as containerd does, not by a chunked PATCH as dockerd does."""
    number: int = -1
    digest: str = ""
    _plain: bytearray = field(default_factory=bytearray)
    _chunked: bytearray = field(default_factory=bytearray)

    def of_round(self, number: int) -> "Layer":
        """Make this round's bytes, once."""
        if number == self.number:
            return self
        if not self._plain:
            self._plain += bytes(self.size)
            self._chunked += b"" if self.whole else framed(self._plain)
        view = memoryview(self._plain)
        self.fill(view)
        if not self.whole:
            for n, place in enumerate(framed_places(self.size)):
                self._chunked[place] = view[n * PIECE_BYTES : (n + 1) * PIECE_BYTES]
        self.number, self.digest = number, f"sha256:{hashlib.sha256(view).hexdigest()}"
        return self

    def push(self, target: Target, number: int) -> Mapping[str, float]:
        """Push this round's layer."""
        self.of_round(number)
        token, used = token_for(target), cpu_seconds(target.pid)
        seconds = at_once([partial(self._push, target, token)])
        used = cpu_seconds(target.pid) - used
        return {PUSH: self.size / seconds / 1e6, CPU_PUSHED: used / self.size * 1e9}

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull this round's layer by 1, 3 and 8 clients at once."""
        token, used = token_for(target), cpu_seconds(target.pid)
        speeds: dict[str, float] = {}
        for streams in STREAMS:
            work = [partial(pull, target, token, self.digest, self.size)] * streams
            speeds[pulled_by(streams)] = streams * self.size / at_once(work) / 1e6
        used = cpu_seconds(target.pid) - used
        return {**speeds, CPU_PULLED: used / (sum(STREAMS) * self.size) * 1e9}

    def _push(self, target: Target, token: str) -> None:
        with Connection(target, token) as connection:
            if self.whole:
                push_whole(connection, target, self.digest, self._plain)
            else:
                push(connection, target, self.digest, self._chunked)


def pulled_by(streams: int) -> str:
    """Name the figure."""
    return f"pull a layer, {streams} at once"


def measure_pushes(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s and CPU seconds per GB of pushes, of both kinds and in both forms."""
    size = effort.layer_bytes
    layers = {
        f"{kind} layer, {form}": Layer(size, fill, whole)
        for kind, fill in (("random", fill_at_random), ("gzip", gzipped.fill))
        for form, whole in (("chunked PATCH", False), ("one PUT", True))
    }
    with side_by_side(root, "push", effort) as targets:
        steps = [partial(_pushed, what, layer) for what, layer in layers.items()]
        figures = targets.measure(effort.rounds, steps)
    speed, cost = at_least(1.0, NAMED), at_most(CPU_TIMES_MAX, NAMED)
    return [
        *(figures.row(f"{PUSH}, {what}", "MB/s", speed) for what in layers),
        *(figures.row(f"{CPU_PUSHED}, {what}", "s/GB", cost, 2) for what in layers),
    ]


def measure_pulls(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s and CPU seconds per GB of pulls, just after the layer was pushed."""
    layer = Layer(effort.layer_bytes)
    with side_by_side(root, "pull", effort) as targets:
        figures = targets.measure(effort.rounds, [layer.push, layer.pull])
    bar = at_least(1.0, NAMED)
    return [
        *(figures.row(pulled_by(streams), "MB/s", bar) for streams in STREAMS),
        figures.row(CPU_PULLED, "s/GB", at_most(1.0, NAMED), 3),
    ]


def _pushed(what: str, layer: Layer, target: Target, number: int) -> Mapping[str, float]:
    return {f"{name}, {what}": value for name, value in layer.push(target, number).items()}
