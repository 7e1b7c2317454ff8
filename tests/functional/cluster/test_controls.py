"""Negative controls: without copies elsewhere, the same fault loses what the oracle then misses."""

from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import Load


def test_with_one_copy_a_kill_is_noticed(clusters: Clusters) -> None:
    cluster = clusters(3, copies=1)
    first, *others = cluster.nodes
    try:
        with Load(others, cluster.account) as load:
            load.lasts(2)
            first.crash()
            load.lasts(1)
        assert load.failures != []
        assert load.unreadable(others[:1]) != []
        first.start()
        cluster.wait_until_whole()
        assert load.unreadable(others[:1]) == []
    finally:
        cluster.crash()
