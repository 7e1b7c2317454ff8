"""One of four storage servers is killed in mid-pull: the client gets the same bytes, but later."""

import time
from functools import partial
from pathlib import Path
from typing import Final

from bench.network.gateway import pull_seconds
from bench.network.site import site
from bench.processes import start
from bench.rows import Effort, Row, at_most
from bench.wire import read_verified, token_for
from bench.work.layers import Layer

WORK: Final = "pull a layer, 1 of 4 servers killed"
UNDISTURBED: Final = "an undisturbed pull"
SERVERS: Final = 4
KILLED_AFTER_SHARE: Final = 0.4
"""Of the time of the undisturbed pull just before."""
SETTLE_SECONDS: Final = 7.0
"""After a server is back: every worker reads the rows anew within 5 s."""


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure the seconds of pulls with and without; each server has its turn."""
    layer = Layer(effort.layer_bytes)
    whole = slice(0, layer.size)
    calm: list[float] = []
    disturbed: list[float] = []
    with (
        site(root, effort) as here,
        here.cluster(SERVERS, copies=2) as cluster,
        here.gateway(cluster) as gateway,
    ):
        layer.push(gateway, 0)
        for number in range(effort.rounds + 1):
            calm.append(pull_seconds(gateway, layer))
            sha256 = layer.digest.partition(":")[2]
            token = token_for(gateway)
            pull = start([partial(read_verified, gateway, token, layer.digest, whole, sha256)])
            time.sleep(KILLED_AFTER_SHARE * calm[-1])
            victim = cluster.nodes[number % SERVERS]
            victim.crash()
            disturbed.append(pull.ended())
            victim.start()
            cluster.wait_until_whole()
            time.sleep(SETTLE_SECONDS)
    return [Row(WORK, "s", at_most(1.5), disturbed[1:], calm[1:], 2, UNDISTURBED)]
