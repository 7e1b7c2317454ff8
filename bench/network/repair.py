"""One of four stores is lost: how long until all copies are there again, idle and under a load.

Four servers, three copies of each chunk. Random blobs are pushed while the wires are wide; then the
wires are narrow, one server is killed and its disk removed. The loss counts as noticed when the
servers go on without the store (`layout.changed`), 15 s after it fell silent, and the
copies as complete when every other store has said so (`store.whole`) and every chunk has its copies
on their disks. The bound is what the lost store held, by what the three wires carry.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.blobs import SEED, push_blobs
from bench.network.pulling import Pulled, Pulling
from bench.network.site import Site, as_target, site
from bench.rows import Effort, Row, at_least, at_most
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import wait_until

SERVERS: Final = 4
COPIES: Final = 3
GRACE: Final = (("TREESCALE_GRACE_SECONDS", "15"),)
LOAD_SHARE: Final = 0.5
"""Of what the wires of the servers that are left carry."""
BEFORE_SECONDS: Final = 40.0
AFTER_SECONDS: Final = 20.0
SETTLED_SECONDS: Final = 3.0
QUIET_SECONDS_MAX: Final = 600.0

BOUND: Final = "the bound"
UNDISTURBED: Final = "before the loss"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a loss came to."""

    noticed: float
    """Seconds from the loss to the layout without the store."""
    began: float
    """When that was, by the monotonic clock."""
    seconds: float
    """From then until all copies were there."""
    moved: int
    """Bytes that the others fetched."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The cluster, its blobs, and how to lose a store of it."""

    here: Site
    cluster: Cluster
    blobs: Sequence[tuple[str, int]]

    def lose(self, victim: Node, seconds: float) -> Repair:
        """Kill it and remove its disk; return when all has its copies again."""
        others, lost = self.cluster.others(victim), time.time()  # noqa: TID251  as logs have it
        victim.crash()
        shutil.rmtree(victim.disks[0])
        changed: list[float] = []

        def noticed() -> bool:
            found = [e["at"] for node in others for e in node.events("layout.changed", since=lost)]
            changed.extend(found)
            return bool(found)

        wait_until("the loss is noticed", noticed, seconds=60, every=0.2)
        at = min(changed)
        began = time.monotonic() - (time.time() - at)  # noqa: TID251  likewise
        wait_until(
            "every other store is whole",
            lambda: (
                all(node.events("store.whole", since=at) for node in others)
                and self.is_whole(others)
            ),
            seconds=seconds,
            every=1.0,
        )
        whole = [e for node in others for e in node.events("store.whole", since=at)]
        ended = max(e["at"] for e in whole)
        return Repair(at - lost, began, ended - at, sum(e["bytes"] for e in whole))

    def is_whole(self, nodes: Sequence[Node]) -> bool:
        """Say whether each chunk has just its copies."""
        found = Counter(name for node in nodes for name in node.chunk_names())
        return set(found.values()) == {COPIES}

    def narrow(self) -> None:
        """Make all wires narrow."""
        for node in self.cluster.nodes:
            self.here.narrow(node.machine)


@contextmanager
def filled(root: Path, effort: Effort) -> Iterator[Stores]:
    """Run four servers with narrow wires, each chunk with its copies."""
    with (
        site(root, effort) as here,
        here.cluster(SERVERS, COPIES, narrow=False, variables=GRACE) as cluster,
    ):
        targets = [as_target(node, cluster) for node in cluster.nodes]
        size = effort.gigabytes * 1e9 * SERVERS / COPIES
        stores = Stores(here, cluster, push_blobs(targets, size))
        wait_until(
            "each chunk has its copies",
            lambda: stores.is_whole(cluster.nodes),
            seconds=QUIET_SECONDS_MAX,
            every=1.0,
        )
        stores.narrow()
        yield stores


def measure_idle(root: Path, effort: Effort) -> list[Row]:
    """Measure a loss while nothing else goes on."""
    with filled(root, effort) as stores:
        victim, held, bound = _bounds(stores, effort)
        repair = stores.lose(victim, 60 + 10 * bound)
    return [
        Row(_work("idle", held), "s", at_most(1.25), [repair.seconds], [bound], 1, BOUND),
        Row("… until the loss was noticed", "s", None, [repair.noticed], digits=1),
        Row("… bytes moved", "GB", at_most(1.05), [repair.moved / 1e9], [held / 1e9], 2, "it held"),
    ]


def _bounds(stores: Stores, effort: Effort) -> tuple[Node, int, float]:
    """Return whose store is to be lost, the bytes on it, and the seconds they take at least."""
    victim = stores.cluster.nodes[-1]
    held = _bytes_on(victim)
    return victim, held, held / _wires(effort)


def _wires(effort: Effort) -> float:
    """Return the bytes a second that the wires of the servers that are left carry."""
    return (SERVERS - 1) * effort.mbit / 8 * 1e6


def measure_load(root: Path, effort: Effort) -> list[Row]:
    """Measure a loss under a load."""
    load = LOAD_SHARE * _wires(effort)
    with filled(root, effort) as stores, _pulling(stores, load) as pulling:
        victim, held, bound = _bounds(stores, effort)
        begun = time.monotonic() + SETTLED_SECONDS
        time.sleep(BEFORE_SECONDS)
        lost = time.monotonic()
        repair = stores.lose(victim, 300 + 40 * bound)
        ended = repair.began + repair.seconds
        time.sleep(max(0.0, ended + SETTLED_SECONDS + AFTER_SECONDS - time.monotonic()))
        until = time.monotonic()
    before = pulling.between(begun, lost)
    noticing = pulling.between(lost, repair.began)
    during = pulling.between(repair.began, ended)
    after = pulling.between(ended + SETTLED_SECONDS, until)
    name = f"a load of {load / 1e6:.1f} MB/s, half the wires"
    return [
        Row(_work(name, held), "s", None, [repair.seconds], [bound], 1, BOUND),
        Row("… pull of 4 MB, p99", "s", at_most(1.5), [during.p99], [before.p99], 3, UNDISTURBED),
        Row(
            "… the same until the loss was noticed",
            "s",
            None,
            [noticing.p99],
            [before.p99],
            3,
            UNDISTURBED,
        ),
        Row(
            "… and once each server has everything",
            "s",
            None,
            [after.p99],
            [before.p99],
            3,
            UNDISTURBED,
        ),
        Row("… pulled", "MB/s", at_least(0.8), [during.speed], [before.speed], 1, UNDISTURBED),
        Row(
            "… pulls that failed",
            _of(before, noticing, during, after),
            at_most(0),
            [_failed(before, noticing, during, after)],
        ),
    ]


def _pulling(stores: Stores, load: float) -> Pulling:
    others = stores.cluster.others(stores.cluster.nodes[-1])
    targets = [as_target(node, stores.cluster) for node in others]
    return Pulling(targets, stores.blobs, load, seed=SEED)


def _failed(*parts: Pulled) -> float:
    return float(sum(part.failed for part in parts))


def _of(*parts: Pulled) -> str:
    return f"of {sum(len(part.pulls) for part in parts):,}"


def _work(how: str, held: int) -> str:
    return f"one of {SERVERS} stores lost, {held / 1e9:.1f} GB, {how}: all copies there again"


def _bytes_on(node: Node) -> int:
    files = (node.disks[0] / "chunks").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())
