"""Chunk files are changed on their disks while clients pull: each is found, and each is healed.

Three servers, two copies of each chunk, of which at most one is changed: a byte is flipped, the
file is cut, something is added to it, or it gets another chunk's bytes. CORRUPTIONS says how many,
CORRUPTION_SEED which; a thousand take about a minute.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random  # noqa: TID251  seeded

import pytest
from blake3 import blake3

from tests.functional.cluster.altered import altered
from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import REPOSITORY, Load
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.cluster.record import WRONG
from tests.functional.conftest import Measured
from tests.functional.programs import wait_until
from tests.functional.wire import Wire

CORRUPTIONS = int(os.environ.get("CORRUPTIONS", "40"))
SEED = os.environ.get("CORRUPTION_SEED", "1")
BLOB_BYTES = (70_000, 130_000)
"""More than what the database keeps itself, less than two chunks."""
HEALED_SECONDS_MAX = 60

Place = tuple[Node, str]
"""A copy: where it lies, and the chunk's name."""


@pytest.fixture(scope="module")
def rotting(clusters: Clusters) -> Iterator[Cluster]:
    """Return three servers, two copies of each chunk."""
    cluster = clusters(3, copies=2)
    yield cluster
    cluster.crash()


def push(cluster: Cluster, count: int, random: Random) -> list[str]:
    """Push so many blobs of one chunk each, wait for all copies, and return their digests."""
    before = len(cluster.nodes[0].chunk_names())
    wires = [Wire(node, cluster.account) for node in cluster.nodes]
    data = (random.randbytes(random.randint(*BLOB_BYTES)) for _ in range(count))
    digests = [wires[n % 3].push_blob(REPOSITORY, blob) for n, blob in enumerate(data)]
    assert len(cluster.nodes[0].chunk_names()) > before
    wait_until("each has two copies", lambda: set(copies(cluster).values()) == {2}, every=0.5)
    return digests


def copies(cluster: Cluster) -> Counter[str]:
    return Counter(name for node in cluster.nodes for name in node.chunk_names())


def path_of(place: Place) -> Path:
    node, name = place
    return node.disks[0] / "chunks" / name[:2] / name[2:4] / name


def flipped(data: bytes, _: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def cut(data: bytes, _: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def extended(data: bytes, _: bytes, random: Random) -> bytes:
    return data + random.randbytes(random.randint(1, 5000))


def anothers(_: bytes, other: bytes, __: Random) -> bytes:
    """Return the bytes of another chunk of the same disk, as when blocks are mixed up."""
    return other


KINDS: Sequence[Callable[[bytes, bytes, Random], bytes]] = (flipped, cut, extended, anothers)


def corrupt(cluster: Cluster, count: int, random: Random) -> list[Place]:
    """Change one copy of each of so many chunks; return which."""
    holders: dict[str, list[Node]] = {}
    for node in cluster.nodes:
        for name in node.chunk_names():
            holders.setdefault(name, []).append(node)
    chosen = random.sample(sorted(name for name, nodes in holders.items() if len(nodes) > 1), count)
    places = [(random.choice(holders[name]), name) for name in chosen]
    spared = holders.keys() - set(chosen)
    left = {node: name for name in sorted(spared) for node in holders[name]}
    other = {node: path_of((node, name)).read_bytes() for node, name in left.items()}
    for number, place in enumerate(places):
        path, change = path_of(place), KINDS[number % len(KINDS)]
        path.write_bytes(change(path.read_bytes(), other[place[0]], random))
    return places


def found(places: Sequence[Place]) -> int:
    """Return how many of these were set aside."""
    aside = {
        (node, path.name.partition(".")[0])
        for node in {node for node, _ in places}
        for path in (node.disks[0] / "quarantine").iterdir()
    }
    return len(aside.intersection(places))


def healed(places: Sequence[Place]) -> int:
    """Return how many have their own bytes again."""
    paths = [path_of(place) for place in places]
    good = [path.exists() and blake3(path.read_bytes()).hexdigest() == path.name for path in paths]
    return sum(good)


def test_what_has_changed_is_found_and_healed_and_never_served(
    rotting: Cluster, measured: Measured
) -> None:
    random = Random(f"rot {SEED}")  # noqa: S311  nothing here is a secret
    digests = push(rotting, CORRUPTIONS + CORRUPTIONS // 4, random)
    with Load(rotting.nodes, rotting.account, pushers=1, blob_bytes=100_000) as load:
        load.acknowledged.blobs[:0] = digests
        with load.fault():
            places = corrupt(rotting, CORRUPTIONS, random)
            rotting.nodes[0].admin("verify")
            wait_until(
                "all are healed",
                lambda: healed(places) == len(places),
                seconds=HEALED_SECONDS_MAX,
                every=0.5,
            )
    lost = load.unreadable(rotting.nodes)
    wrong = sum(WRONG in sent.failure for sent in load.sent)
    measured(load.row(f"{CORRUPTIONS} copies changed", lost=lost))
    measured(
        f"copies changed (seed {SEED}): {len(places)}; found: {found(places)}; "
        f"healed: {healed(places)}; wrong bytes served: {wrong} of {len(load.sent)} requests"
    )
    assert load.failures == []
    assert lost == []
    assert found(places) == len(places)
    assert [node.strays() for node in rotting.nodes] == [[], [], []]


def test_without_hashing_what_is_read_back_nothing_is_found(rotting: Cluster) -> None:
    """The negative control."""
    random = Random(f"control {SEED}")  # noqa: S311  nothing here is a secret
    victim = rotting.nodes[0]
    before = victim.chunk_names()
    push(rotting, 12, random)
    places = [(victim, name) for name in sorted(victim.chunk_names() - before)]
    assert places
    with victim.otherwise(launcher=altered("read-nothing-back")):
        rotting.wait_until_whole()
        for place in places:
            path_of(place).write_bytes(flipped(path_of(place).read_bytes(), b"", random))
        victim.admin("verify")
        assert (found(places), healed(places)) == (0, 0)
    rotting.wait_until_whole()
    victim.admin("verify")
    assert found(places) == len(places)
