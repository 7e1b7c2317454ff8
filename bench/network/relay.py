"""One machine, no narrow wires: one stream through a server that holds a third of the chunks.

Three servers, one copy of each chunk, so two thirds of the layer pass two servers and two checks.
The seconds of CPU are those of all servers' processes; the kernel's work for the network is in them
as far as it is done in their name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.network.gateway import pull_speed
from bench.network.site import as_target, site
from bench.processes import cpu_seconds
from bench.rounds import Targets
from bench.rows import Effort, Row
from bench.wire import Target
from bench.work.layers import Layer
from tests.functional.cluster.nodes import Cluster

SPEED: Final = "pull a layer through one of 3 servers, not narrow"
CPU: Final = "CPU of all servers, pulled so"
SERVERS: Final = 3


@dataclass(frozen=True, slots=True)
class Relayed:
    """The steps of a round."""

    layer: Layer
    cluster: Cluster

    def push(self, target: Target, number: int) -> Mapping[str, float]:
        """Push this round's layer; not measured."""
        self.layer.push(target, number)
        return {}

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull it by one client."""
        before = self._cpu(target)
        speed = pull_speed(target, self.layer, 1)
        used = self._cpu(target) - before
        return {SPEED: speed / 1e3, CPU: used / self.layer.size * 1e9}

    def _cpu(self, target: Target) -> float:
        ours = [node.program.pid for node in self.cluster.nodes]
        return sum(map(cpu_seconds, ours if target.pid in ours else [target.pid]))


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure GB/s and CPU seconds per GB; the issue sets no bar."""
    with (
        site(root, effort) as here,
        here.cluster(SERVERS, copies=1, narrow=False) as cluster,
        here.peer(narrow=False) as peer,
    ):
        relayed = Relayed(Layer(effort.layer_bytes), cluster)
        targets = Targets(as_target(cluster.nodes[0], cluster), (peer,))
        figures = targets.measure(effort.rounds, [relayed.push, relayed.pull])
    return [figures.row(SPEED, "GB/s", None, 2), figures.row(CPU, "s/GB", None, 2)]
