"""One stream through a server that holds a third of the chunks: on one machine, and behind wires.

Three servers, one copy of each chunk, so two thirds of the layer pass two servers and two checks.
Wires of 1 Gbit/s of their own, both ways, allow what one docker-registry's allows: 1.0 times it.
The seconds of CPU are those of all servers' processes; the kernel's work for the network is in them
as far as it is done in their name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.network.gateway import pull_speed
from bench.network.site import as_target, site
from bench.processes import cpu_seconds
from bench.rounds import Targets
from bench.rows import Bar, Effort, Row, at_least
from bench.wire import Target
from bench.work.layers import Layer
from tests.functional.cluster.nodes import Cluster

SPEED: Final = "pull a layer through one of 3 servers, not narrow"
CPU: Final = "CPU of all servers, pulled so"
WIRED: Final = "pull a layer through one of 3 servers, wires of 1 Gbit/s"
WIRED_CPU: Final = "CPU of all servers, pulled so over wires"
WIRE_MBIT: Final = 1000
SERVERS: Final = 3


@dataclass(frozen=True, slots=True)
class Relayed:
    """The steps of a round."""

    layer: Layer
    cluster: Cluster
    speed: str
    cpu: str

    def push(self, target: Target, number: int) -> Mapping[str, float]:
        """Push this round's layer; not measured."""
        self.layer.push(target, number)
        return {}

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull it by one client."""
        before = self._cpu(target)
        speed = pull_speed(target, self.layer, 1)
        used = self._cpu(target) - before
        return {self.speed: speed / 1e3, self.cpu: used / self.layer.size * 1e9}

    def _cpu(self, target: Target) -> float:
        ours = [node.program.pid for node in self.cluster.nodes]
        return sum(map(cpu_seconds, ours if target.pid in ours else [target.pid]))


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure GB/s and CPU seconds per GB; the issue sets no bar."""
    return _measure(root, effort, SPEED, CPU, None)


def measure_wired(root: Path, effort: Effort) -> list[Row]:
    """Measure the same where each server, and the peer, has a wire of its own."""
    return _measure(root, replace(effort, mbit=WIRE_MBIT), WIRED, WIRED_CPU, at_least(1.0))


def _measure(root: Path, effort: Effort, speed: str, cpu: str, bar: Bar | None) -> list[Row]:
    narrow = bar is not None
    with (
        site(root, effort) as here,
        here.cluster(SERVERS, copies=1, narrow=narrow) as cluster,
        here.peer(narrow=narrow) as peer,
    ):
        relayed = Relayed(Layer(effort.layer_bytes), cluster, speed, cpu)
        targets = Targets(as_target(cluster.nodes[0], cluster), (peer,))
        figures = targets.measure(effort.rounds, [relayed.push, relayed.pull])
    return [figures.row(speed, "GB/s", bar, 2), figures.row(cpu, "s/GB", None, 2)]
