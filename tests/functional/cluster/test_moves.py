"""Copies come and go under a load: repair, join, drain, leave, more copies and fewer.

A move is over when each chunk that was there at its beginning has just its copies again. Each
lasts for FAULT_REQUESTS requests at least (`make faults`). CI has `test_walk.py` instead, whose
stores are drained, taken back, lost and joined under a load in turn.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from random import Random  # noqa: TID251  seeded

import pytest

from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import REPOSITORY, REQUESTS, Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.conftest import Measured
from tests.functional.programs import wait_until
from tests.functional.wire import Wire

pytestmark = pytest.mark.early

COPIES = 2
BLOB_BYTES = 12_000_000
BLOBS_FIRST = 25
MOVED_SECONDS_MAX = 900

Move = Callable[[Collection[str]], None]
"""Moves copies, and returns when these chunks lie where they then belong."""


@pytest.fixture(scope="module")
def four_with_two_copies(clusters: Clusters) -> Iterator[Cluster]:
    """Return four servers with something to move, each chunk of it on two of them."""
    cluster = clusters(4, copies=COPIES)
    wire = Wire(cluster.nodes[0], cluster.account)
    for number in range(BLOBS_FIRST):
        wire.push_blob(REPOSITORY, Random(number).randbytes(BLOB_BYTES))  # noqa: S311  no secret
    yield cluster
    cluster.crash()


@pytest.fixture
def four(four_with_two_copies: Cluster) -> Cluster:
    """Return them, each chunk with just its copies."""
    wait_until_copied(four_with_two_copies.nodes, named(four_with_two_copies.nodes), COPIES)
    return four_with_two_copies


def named(nodes: Sequence[Node]) -> set[str]:
    """Return the chunks that lie on these servers."""
    return set().union(*(node.chunk_names() for node in nodes))


def wait_until_copied(nodes: Sequence[Node], chunks: Collection[str], count: int) -> None:
    """Return when each of these chunks has just so many copies on these servers."""

    def copied() -> bool:
        found = Counter(name for node in nodes for name in node.chunk_names())
        return {found[chunk] for chunk in chunks} == {count}

    what = f"each chunk has {count} copies"
    wait_until(what, copied, seconds=MOVED_SECONDS_MAX, every=0.5)


def under_load(name: str, cluster: Cluster, through: Sequence[Node], move: Move) -> str:
    """Push and pull through these servers during the move; return the row of it all."""
    with Load(through, cluster.account, blob_bytes=1_000_000) as load:
        load.lasts(1)
        begun, chunks = len(load.sent), named(cluster.nodes)
        with load.fault():
            move(chunks)
            wait_until("so many requests are sent", lambda: len(load.sent) >= begun + REQUESTS)
    lost = load.unreadable(through)
    assert load.failures == []
    assert lost == []
    assert cluster.complaints() == []
    return load.row(name, lost=lost)


class Moves:
    """What is tried: each does its part and undoes it, and returns the rows of both."""

    def __init__(self, cluster: Cluster, fifth: Node) -> None:
        self._cluster = cluster
        self._nodes = cluster.nodes
        self._fifth = fifth

    def drain(self) -> list[str]:
        """Drain a server, and take it back."""
        drained, *others = self._nodes

        def drain(chunks: Collection[str]) -> None:
            others[0].admin("cluster", "drain", drained.server_id)
            wait_until_copied(others, chunks, COPIES)
            wait_until("it is empty", lambda: drained.chunks() == 0, seconds=MOVED_SECONDS_MAX)

        def take_back(chunks: Collection[str]) -> None:
            others[0].admin("cluster", "undrain", drained.server_id)
            wait_until_it_has_a_part(drained)
            wait_until_copied(self._nodes, chunks, COPIES)

        return [self._row("drain", drain), self._row("undrain", take_back)]

    def copies(self) -> list[str]:
        """Ask for one copy more, and for as many as before."""

        def set_to(copies: int) -> Move:
            def move(chunks: Collection[str]) -> None:
                self._nodes[0].admin("cluster", "set", f"copies={copies}")
                wait_until_copied(self._nodes, chunks, copies)

            return move

        raised = self._row("copies 2 to 3", set_to(COPIES + 1))
        return [raised, self._row("copies 3 to 2", set_to(COPIES))]

    def join(self) -> list[str]:
        """Have a fifth server join, and leave."""
        fifth = self._fifth

        def join(chunks: Collection[str]) -> None:
            fifth.start()
            wait_until_it_has_a_part(fifth)
            wait_until_copied([*self._nodes, fifth], chunks, COPIES)

        def leave(chunks: Collection[str]) -> None:
            server = fifth.server_id
            self._nodes[0].admin("cluster", "drain", server)
            wait_until("it is empty", lambda: fifth.chunks() == 0, seconds=MOVED_SECONDS_MAX)
            assert fifth.stop() == 0
            wait_until_forgotten(server, self._nodes[0])
            wait_until_copied(self._nodes, chunks, COPIES)

        return [self._row("join", join), self._row("leave", leave)]

    def repair(self) -> list[str]:
        """Lose a server with its disk; another one takes its place when all is made good."""
        victim, *others = self._nodes

        def lose(chunks: Collection[str]) -> None:
            victim.crash()
            store = json.loads((victim.disks[0] / "store.json").read_bytes())["store"]
            shutil.rmtree(victim.disks[0])
            wait_until_forgotten(store, others[0])
            wait_until_copied(others, chunks, COPIES)

        row = self._row("repair", lose, others)
        victim.start()
        wait_until_it_has_a_part(victim)
        return [row]

    def _row(self, name: str, move: Move, through: Sequence[Node] = ()) -> str:
        return under_load(name, self._cluster, through or self._nodes, move)


if REQUESTS:

    @pytest.mark.parametrize("what", ["drain", "copies", "join", "repair"])
    def test_copies_move_and_no_request_fails(
        what: str, four: Cluster, network: Network, tmp_path: Path, measured: Measured
    ) -> None:
        fifth = Node(tmp_path / "s5", network.machine(), four.nodes[0].options.database)
        try:
            for row in getattr(Moves(four, fifth), what)():
                measured(row)
        finally:
            fifth.crash()


def wait_until_it_has_a_part(node: Node) -> None:
    """Return when chunks lie on it."""
    wait_until("it has a part", lambda: node.chunks() > 0, seconds=MOVED_SECONDS_MAX, every=0.5)


def wait_until_forgotten(what: str, by: Node) -> None:
    """Forget a store or server as soon as it counts as out of use."""

    def forgotten() -> bool:
        code, said = by.outcome("cluster", "forget", what, "--lost")
        assert code == 0 or "is in use" in said, said
        return code == 0

    wait_until(f"{what} is forgotten", forgotten, seconds=60, every=2)
