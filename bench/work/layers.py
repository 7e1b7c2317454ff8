"""Large layers: pushed by one client, pulled by 1, 3 and 8 at once; what a GB costs the server.

The seconds of CPU are those of the server's processes alone, before and after, per GB of layer.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench.pair import side_by_side
from bench.processes import at_once, cpu_seconds
from bench.rows import Effort, Row, at_least, at_most
from bench.wire import Connection, Target, framed, framed_places, pull, push, token_for

STREAMS: Final = (1, 3, 8)
PUSH: Final = "push a layer"
CPU_PUSHED: Final = "CPU of the server, pushed"
PUSH_GZIP: Final = "push a layer, gzip"
CPU_PUSHED_GZIP: Final = "CPU of the server, pushed, gzip"
CPU_PULLED: Final = "CPU of the server, pulled"
GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""As Go writes it. What follows has sync points no more than random bytes have: as good as none."""


@dataclass(slots=True)
class Layer:
    """Random bytes, new in each round and the same for both registries.

    They are written over those of the round before: memory given back here and taken by a server
    afterwards can cost that server ten times a copy, where a hypervisor has to find it again.
    """

    size: int
    number: int = -1
    digest: str = ""
    chunked: bytearray = field(default_factory=bytearray)
    head: bytes = b""

    def of_round(self, number: int) -> "Layer":
        """Make this round's bytes, once."""
        if number == self.number:
            return self
        if not self.chunked:
            self.chunked += framed(bytes(self.size))
        hasher, begun = hashlib.sha256(), False
        for place in framed_places(self.size):
            data = os.urandom(place.stop - place.start)
            if not begun:
                data = self.head + data[len(self.head) :]
            begun = True
            self.chunked[place] = data
            hasher.update(data)
        self.number, self.digest = number, f"sha256:{hasher.hexdigest()}"
        return self

    def push(self, target: Target, number: int) -> Mapping[str, float]:
        """Push this round's layer."""
        self.of_round(number)
        token, used = token_for(target), cpu_seconds(target.pid)
        seconds = at_once([partial(_push, target, token, self)])
        used = cpu_seconds(target.pid) - used
        speed, cost = (PUSH_GZIP, CPU_PUSHED_GZIP) if self.head else (PUSH, CPU_PUSHED)
        return {speed: self.size / seconds / 1e6, cost: used / self.size * 1e9}

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull this round's layer by 1, 3 and 8 clients at once."""
        token, used = token_for(target), cpu_seconds(target.pid)
        speeds: dict[str, float] = {}
        for streams in STREAMS:
            work = [partial(pull, target, token, self.digest, self.size)] * streams
            speeds[pulled_by(streams)] = streams * self.size / at_once(work) / 1e6
        used = cpu_seconds(target.pid) - used
        return {**speeds, CPU_PULLED: used / (sum(STREAMS) * self.size) * 1e9}


def pulled_by(streams: int) -> str:
    """Name the figure."""
    return f"pull a layer, {streams} at once"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s of push and pull, and CPU seconds per GB."""
    layer = Layer(effort.layer_bytes)
    squeezed = Layer(effort.layer_bytes, head=GZIP_HEAD)
    with side_by_side(root, "layers") as pair:
        figures = pair.measure(effort.rounds, [layer.push, layer.pull, squeezed.push])
    return [
        figures.row(PUSH, "MB/s", at_least(2.5)),
        figures.row(PUSH_GZIP, "MB/s", at_least(2.5)),
        *(figures.row(pulled_by(streams), "MB/s", at_least(1.0)) for streams in STREAMS),
        figures.row(CPU_PULLED, "s/GB", at_most(1.0), 3),
        figures.row(CPU_PUSHED, "s/GB", at_most(1.0), 3),
        figures.row(CPU_PUSHED_GZIP, "s/GB", at_most(1.0), 3),
    ]


def _push(target: Target, token: str, layer: Layer) -> None:
    with Connection(target, token) as connection:
        push(connection, target, layer.digest, layer.chunked)
