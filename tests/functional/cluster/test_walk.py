"""Copies come and go by themselves: a server is drained, one is added, one is lost."""

import json
import shutil
from collections import Counter

import pytest

from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import Load
from tests.functional.cluster.nodes import Balancer, Node
from tests.functional.programs import wait_until

pytestmark = pytest.mark.early

MOVED_SECONDS_MAX = 150
"""What was pushed by the older layout in its last moments is
found a minute after the first look."""


def copies(nodes: list[Node]) -> Counter[str]:
    """Return how many of these servers have each chunk."""
    return Counter(name for node in nodes for name in node.chunk_names())


def wait_until_copied(nodes: list[Node], count: int, chunks: int) -> None:
    """Return when each of so many chunks has just so many copies on these servers."""

    def copied() -> bool:
        found = copies(nodes)
        return len(found) == chunks and set(found.values()) == {count}

    wait_until(f"each chunk has {count} copies", copied, seconds=MOVED_SECONDS_MAX, every=0.5)


def forgotten(node: Node, store: str) -> bool:
    """Forget a store as soon as it counts as out of use."""
    code, said = node.outcome("cluster", "forget", store, "--lost")
    assert code == 0 or "is in use" in said, said
    return code == 0


def test_a_server_is_drained_and_back_under_load(clusters: Clusters) -> None:
    cluster = clusters(4, copies=2)
    try:
        drained, *others = cluster.nodes
        with Load(others, cluster.account, blob_bytes=2**20) as load:
            load.lasts()
            others[0].admin("cluster", "drain", drained.server_id)
            wait_until(
                "the drained server is empty",
                lambda: drained.chunks() == 0,
                seconds=MOVED_SECONDS_MAX,
                every=0.5,
            )
            others[0].admin("cluster", "undrain", drained.server_id)
            wait_until(
                "the server that is back has its part again",
                lambda: drained.chunks() > 10,
                seconds=MOVED_SECONDS_MAX,
                every=0.5,
            )
        assert load.failures == []
        assert load.unreadable(cluster.nodes) == []
        assert cluster.complaints() == []
    finally:
        cluster.crash()


def test_a_server_is_lost_and_another_joins_under_pulls(clusters: Clusters) -> None:
    cluster = clusters(4, copies=2)
    try:
        wiped, *others = cluster.nodes
        with Load(others, cluster.account, blob_bytes=2**20) as load:
            load.lasts()
        with Load(others, cluster.account, pushers=0, repository="admin/other") as pulls:
            chunks = len(copies(cluster.nodes))
            wait_until_copied(cluster.nodes, 2, chunks)
            # Its disk is replaced: the store that was on it is lost, and another one joins.
            wiped.crash()
            label = json.loads((wiped.disks[0] / "store.json").read_bytes())
            shutil.rmtree(wiped.disks[0])
            wait_until(
                "the lost store is forgotten",
                lambda: forgotten(others[0], label["store"]),
                seconds=40,
                every=2,
            )
            wiped.start()
            wait_until_copied(cluster.nodes, 2, chunks)
        assert load.failures == []
        assert pulls.failures == []
        assert load.unreadable(cluster.nodes) == []
        assert cluster.complaints() == []
    finally:
        cluster.crash()


def test_copies_and_weights_take_effect_on_what_is_there(clusters: Clusters) -> None:
    cluster = clusters(4, copies=2)
    heavy, *others = cluster.nodes
    balancer = Balancer(cluster.nodes)
    try:
        with Load([balancer], cluster.account, blob_bytes=2**18) as before:
            before.lasts(1)
        with Load([balancer], cluster.account, pushers=0, repository="admin/other") as load:
            chunks = len(copies(cluster.nodes))
            for count in (3, 2):
                others[0].admin("cluster", "set", f"copies={count}")
                wait_until_copied(cluster.nodes, count, chunks)
            with balancer.without(heavy):
                assert heavy.stop() == 0
                heavy.configure(weight=3)  # as much as the others together: a copy of 96 %
                heavy.start()
            wait_until(
                "the heavy one has a copy of nearly each chunk",
                lambda: heavy.chunks() >= 0.75 * chunks,
                seconds=MOVED_SECONDS_MAX,
                every=0.5,
            )
            wait_until_copied(cluster.nodes, 2, chunks)
        assert load.failures == []
        assert before.failures == []
        assert before.unreadable(cluster.nodes) == []
        code, said = others[0].outcome("fsck")
        assert code == 0, said
        assert cluster.complaints() == []
    finally:
        cluster.crash()
