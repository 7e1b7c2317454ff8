"""A layer through a gateway: pushed, pulled by one client and by sixteen, against one server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.network.site import behind_a_gateway
from bench.processes import at_once
from bench.rounds import Step
from bench.rows import Effort, Row, at_least
from bench.wire import Target, read_verified, token_for
from bench.work.layers import PUSH as PUSHED
from bench.work.layers import Layer

PUSH: Final = "push a layer, {} servers"
PULL: Final = "pull a layer, {} servers"
CROWD: Final = "pull by 16 at once, {} servers"
CROWD_CLIENTS: Final = 16
CROWD_LAYER_SHARE: Final = 0.25
"""Sixteen times a large layer would take the peer three minutes a round."""


@dataclass(frozen=True, slots=True)
class Through:
    """The steps of a round with so many servers: a large layer and, for the crowd, a smaller."""

    servers: int
    layer: Layer
    small: Layer

    def push(self, target: Target, number: int) -> Mapping[str, float]:
        """Push this round's layer."""
        return {PUSH.format(self.servers): self.layer.push(target, number)[PUSHED]}

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull it by one client."""
        return {PULL.format(self.servers): pull_speed(target, self.layer, 1)}

    def crowd(self, target: Target, number: int) -> Mapping[str, float]:
        """Pull a smaller one by many clients at once; all bytes count."""
        self.small.push(target, number)
        return {CROWD.format(self.servers): pull_speed(target, self.small, CROWD_CLIENTS)}


def pull_speed(target: Target, layer: Layer, clients: int) -> float:
    """Return the MB/s of all clients together; each verifies what it reads."""
    return clients * layer.size / pull_seconds(target, layer, clients) / 1e6


def pull_seconds(target: Target, layer: Layer, clients: int = 1) -> float:
    """Return the seconds from the first client's begin to the last one's end."""
    token, sha256 = token_for(target), layer.digest.partition(":")[2]
    whole = slice(0, layer.size)
    return at_once([partial(read_verified, target, token, layer.digest, whole, sha256)] * clients)


def measure_four(root: Path, effort: Effort) -> list[Row]:
    """Measure with four servers: one client's push and pull."""
    return _measure(root, effort, 4, ["push", "pull"])


def measure_eight(root: Path, effort: Effort) -> list[Row]:
    """Measure with eight."""
    return _measure(root, effort, 8, ["push", "pull"])


def measure_crowd(root: Path, effort: Effort) -> list[Row]:
    """Measure sixteen clients of four servers."""
    return _measure(root, effort, 4, ["crowd"])


BARS: Final = {
    PULL.format(4): at_least(3.6),
    PUSH.format(4): at_least(1.8),
    PULL.format(8): at_least(7.0),
    CROWD.format(4): at_least(3.6),
}


def _measure(root: Path, effort: Effort, servers: int, names: Sequence[str]) -> list[Row]:
    size = effort.layer_bytes
    through = Through(servers, Layer(size), Layer(int(size * CROWD_LAYER_SHARE)))
    steps: list[Step] = [getattr(through, name) for name in names]
    with behind_a_gateway(root, effort, servers, copies=2) as targets:
        figures = targets.measure(effort.rounds, steps)
    return [figures.row(name, "MB/s", BARS.get(name), 1) for name in figures.ours]
