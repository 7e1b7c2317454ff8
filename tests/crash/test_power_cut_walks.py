"""The power cut while walks move copies: of one server of three, or of all at once (faults.md 1.3).

Three servers on one PostgreSQL, two copies of each chunk, each server on an ext4 of its own that
commits by itself only every 300 seconds. Clients push; servers are drained and taken back, and
copies are raised and lowered, so that something moves all the time. At a cut every process is
stopped where it is. What the cut servers' disks hold is what copies of their images hold once the
journal is replayed; what the others hold is what they have.

Each chunk that a blob names must then have two good copies: it was acknowledged with two, and one
goes only after every home has kept its own. Every tenth time the servers do go on from such disks,
and at the end everything acknowledged is read through each of them. WALK_CUTS says how often the
power of one server is cut, WALK_CUTS_OF_ALL that of all; 200 and 20 take ten minutes.
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random  # noqa: TID251  seeded
from time import sleep
from typing import Protocol

import pytest
from blake3 import blake3

from tests import images
from tests.crash.conftest import Counted
from tests.crash.places import MIB, Mounts, copy_image, make_ext4
from tests.crash.test_power_cut import stopped
from tests.functional.cluster.altered import altered
from tests.functional.cluster.database import NetworkPostgres, network_postgres
from tests.functional.cluster.load import REPOSITORY, Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import children_of, run, wait_until
from tests.functional.server import TREESCALE
from tests.functional.wire import Wire

pytestmark = pytest.mark.early

TRIES = 3
CUTS = int(os.environ.get("WALK_CUTS", "3"))
CUTS_OF_ALL = int(os.environ.get("WALK_CUTS_OF_ALL", "1"))
SEED = os.environ.get("POWER_CUT_SEED", "1")
COPIES = 2
SERVERS = 3
IMAGE_BYTES = 1024 * MIB
MEMORY_BYTES = 8192 * MIB
REBOOT_EVERY = 10
PAUSE_SECONDS_MAX = 0.8
"""Between two cuts."""
BLOBS_FIRST = 50
BLOB_BYTES = 200_000
MOVED_SECONDS_MAX = 120
SLOW = (("TREESCALE_WALK_BYTES_PER_SECOND_MAX", "4000000"),)
"""So that a move lasts for some cuts."""
NAMED = "SELECT DISTINCT encode(chunk, 'hex') FROM blob_chunks"


class Lost(AssertionError):
    """A chunk that was acknowledged has not the copies it must have."""


class Rack:
    """Servers on disks of their own, whose power is cut one by one or together."""

    def __init__(self, mounts: Mounts, memory: Path, cluster: Cluster) -> None:
        self._mounts = mounts
        self._memory = memory
        self._nodes = cluster.nodes
        self._places = {node: self._mounted(node) for node in self._nodes}

    def _image(self, node: Node) -> Path:
        return self._memory / f"{node.home.name}.img"

    def _mounted(self, node: Node) -> Path:
        if not self._image(node).exists():
            make_ext4(self._image(node), IMAGE_BYTES)
        node.log = node.program.log = self._memory / f"{node.home.name}.log"
        return self._mounts.ext4(self._image(node), str(node.home))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop every process of every server where it is."""
        for node in self._nodes:
            node.pause()
        pids = [p for n in self._nodes for p in (n.program.pid, *children_of(n.program.pid))]
        wait_until("all are stopped", lambda: all(map(stopped, pids)))
        try:
            yield
        finally:
            for node in self._nodes:
                node.resume()

    def cut(self, victims: Sequence[Node], chunks: Sequence[str]) -> None:
        """Cut their power, and raise Lost unless each of these chunks has its copies then."""
        with ExitStack() as undo:
            good = Counter[str]()
            for node in self._nodes:
                place = self._places[node]
                if node in victims:
                    image = copy_image(self._image(node), self._memory / f"{node.home.name}.cut")
                    undo.callback(image.unlink)
                    place = self._mounts.ext4(image, f"cut-{node.home.name}")
                    undo.callback(self._mounts.unmount, place)
                good.update(good_files(place / "disk0"))
        lacking = [chunk for chunk in chunks if good[chunk] < COPIES]
        if lacking:
            raise Lost(f"{len(lacking)} of {len(chunks)} chunks lost a copy: {lacking[:3]}")

    def reboot(self, victims: Sequence[Node]) -> None:
        """Cut their power, and have them start on what their disks then hold."""
        with self.stopped():
            found = [
                (node, copy_image(self._image(node), self._memory / f"{node.home.name}.cut"))
                for node in victims
            ]
            for node in victims:
                node.crash()
        for node, image in found:
            self._mounts.unmount(self._places[node])
            image.replace(self._image(node))
            self._places[node] = self._mounted(node)
            node.start()

    def sync(self) -> None:
        """Have everything on the disks."""
        for place in self._places.values():
            run("sync", "-f", place)


def good_files(disk: Path) -> Iterator[str]:
    """Yield the chunks of a disk; no file of another name's bytes may be among them."""
    for path in (disk / "chunks").glob("*/*/*"):
        if blake3(path.read_bytes()).hexdigest() != path.name:
            raise Lost(f"half-written: {path}")
        yield path.name


@dataclass(frozen=True)
class Move:
    """Something that makes copies move, and how to see that it is over."""

    words: tuple[str, ...]
    is_over: Callable[[Counter[str]], bool]


class Moves:
    """One move after the other: drained, taken back, more copies, fewer."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._all = itertools.cycle(move for node in cluster.nodes for move in self._of(node))
        self._now: Move | None = None
        self.begun = 0

    def _of(self, node: Node) -> Iterator[Move]:
        name = node.server_id
        yield Move(("drain", name), lambda _: not node.chunks())
        yield Move(("undrain", name), lambda found: node.chunks() > 0 and all_have(found, COPIES))
        yield Move(("set", f"copies={SERVERS}"), lambda found: all_have(found, SERVERS))
        yield Move(("set", f"copies={COPIES}"), lambda found: all_have(found, COPIES))

    def is_over(self) -> bool:
        """Say whether the last one is."""
        return self._now is None or self._now.is_over(copies(self._cluster))

    def go_on(self) -> None:
        """Begin the next one if the last one is over."""
        if self.is_over():
            self._now = next(self._all)
            self.begun += 1
            self._cluster.nodes[0].admin("cluster", *self._now.words)


def copies(cluster: Cluster) -> Counter[str]:
    """Return how many servers have each chunk, as far as they are not cut."""
    return Counter(name for node in cluster.nodes for name in node.chunk_names())


def all_have(found: Counter[str], copies: int) -> bool:
    return set(found.values()) == {copies}


@pytest.fixture
def database() -> Iterator[tuple[Network, NetworkPostgres]]:
    with Network() as network, network_postgres(network) as postgres:
        yield network, postgres


class Racked(Protocol):
    """Starts three servers, as they come or wrong on purpose, with something to move."""

    def __call__(self, launcher: tuple[str, ...] = ...) -> tuple[Cluster, Rack]: ...


@pytest.fixture
def racked(
    database: tuple[Network, NetworkPostgres], mounts: Mounts, tmp_path: Path
) -> Iterator[Racked]:
    """Return what starts them; they end before their disks are unmounted."""
    network, postgres = database
    started: list[Cluster] = []

    def start(launcher: tuple[str, ...] = (str(TREESCALE),)) -> tuple[Cluster, Rack]:
        url = postgres.new_database(copies=COPIES)
        nodes = [
            Node(tmp_path / f"s{n}", network.machine(), url, variables=SLOW, launcher=launcher)
            for n in range(1, SERVERS + 1)
        ]
        cluster = Cluster(nodes)
        started.append(cluster)
        rack = Rack(mounts, mounts.memory("memory", MEMORY_BYTES), cluster)
        push(cluster.start())
        return cluster, rack

    yield start
    for cluster in started:
        cluster.crash()


def push(cluster: Cluster) -> None:
    """Push some blobs of one chunk each, and wait for their copies."""
    wire = Wire(cluster.nodes[0], cluster.account)
    for number in range(BLOBS_FIRST):
        wire.push_blob(REPOSITORY, images.noise(BLOB_BYTES + number))
    wait_until("each has its copies", lambda: all_have(copies(cluster), COPIES))


def test_chunks_keep_their_copies_when_the_power_is_cut_while_they_move(
    racked: Racked, database: tuple[Network, NetworkPostgres], counted: Counted
) -> None:
    cluster, rack = racked()
    random = Random(f"cuts {SEED}")  # noqa: S311  nothing here is a secret
    moves, moving, checked = Moves(cluster), 0, 0
    cuts = [[node] for node in itertools.islice(itertools.cycle(cluster.nodes), CUTS)]
    every = CUTS // CUTS_OF_ALL
    for number in range(CUTS_OF_ALL):
        cuts.insert((every + 1) * number + every, cluster.nodes)
    load = Load(
        cluster.nodes,
        cluster.account,
        pushers=1,
        pullers=1,
        blob_bytes=BLOB_BYTES,
        pause_seconds=0.5,
    )
    with load:
        for number, victims in enumerate(cuts, 1):
            moves.go_on()
            sleep(random.random() * PAUSE_SECONDS_MAX)
            chunks = named(database[1], cluster)
            with rack.stopped():
                moving += not moves.is_over()
                rack.cut(victims, chunks)
            checked += len(chunks)
            if number % REBOOT_EVERY == 0 or number == len(cuts):
                rack.reboot(victims)
    cluster.wait_until_fit()
    assert load.unreadable(cluster.nodes) == []
    assert moving > len(cuts) // 2
    counted(
        f"power cuts during walks: of one server of {SERVERS}: {CUTS}, of all: {CUTS_OF_ALL} "
        f"(seed {SEED}; a walk under way at {moving}, moves {moves.begun}); "
        f"chunks looked at: {checked}; lost: 0"
    )


def test_without_syncs_a_cut_during_a_walk_is_noticed(
    racked: Racked, database: tuple[Network, NetworkPostgres]
) -> None:
    """The negative control: what was pushed is on the disks, what moves is not.

    On a machine that is slow the kernel may write it by itself meanwhile: then it is moved again.
    """
    cluster, rack = racked(altered("sync-no-chunk"))
    first, *others = cluster.nodes
    for _ in range(TRIES):
        rack.sync()
        first.admin("cluster", "drain", first.server_id)
        wait_until("it is empty", lambda: not first.chunks(), seconds=MOVED_SECONDS_MAX)
        chunks = named(database[1], cluster)
        with rack.stopped():
            try:
                rack.cut(others, chunks)
            except Lost:
                return
        first.admin("cluster", "undrain", first.server_id)
        wait_until("it is full again", lambda: first.chunks() > 0, seconds=MOVED_SECONDS_MAX)
        wait_until("each has its copies", lambda: all_have(copies(cluster), COPIES))
    pytest.fail("no cut was noticed")


def named(database: NetworkPostgres, cluster: Cluster) -> list[str]:
    """Return the chunks that blobs name."""
    return [name for (name,) in database.ask(cluster.nodes[0].options.database, NAMED)]
