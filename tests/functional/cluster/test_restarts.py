"""Three servers restarted: one after another under load, and all at once after a power cut."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from tests.functional.cluster.conftest import Measured
from tests.functional.cluster.load import REQUESTS, Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Balancer, Cluster, Node
from tests.functional.programs import refused


def test_servers_restarted_one_after_another_fail_no_request(
    three: Cluster, measured: Measured
) -> None:
    balancer = Balancer(three.nodes)
    with Load([balancer], three.account) as load:
        for node in three.nodes * (2 if REQUESTS else 1):
            assert node.stop() == 0
            node.start()
    lost = load.unreadable(three.nodes)
    measured(load.row("T11 restarted", lost=lost))
    assert load.failures == []
    assert lost == []


def test_all_servers_killed_at_once_have_everything_after_a_restart(
    three: Cluster, measured: Measured
) -> None:
    with Load(three.nodes, three.account) as load:
        load.lasts()
        with ThreadPoolExecutor(len(three.nodes)) as killing:
            list(killing.map(Node.crash, three.nodes))
    begun = time.monotonic()
    with ThreadPoolExecutor(len(three.nodes)) as starting:
        list(starting.map(Node.start, three.nodes))
    seconds = time.monotonic() - begun
    lost = load.unreadable(three.nodes)
    measured(load.row("T12 all killed at once", lost=lost, back=[seconds]))
    assert seconds < 10
    assert lost == []


def test_a_copy_of_a_disk_in_use_is_refused(three: Cluster, network: Network) -> None:
    first = three.nodes[0]
    thief = Node(first.home.with_name("thief"), network.machine(), first.options.database)
    shutil.copytree(first.disks[0], thief.disks[0])
    (thief.disks[0] / "server.json").unlink()
    said = refused(*thief.program.argv)
    assert "is in use on" in said
    assert first.address in said
    assert "if its directory was copied, give --data an empty one" in said
    assert "Traceback" not in said


def test_a_copy_of_a_whole_server_is_refused(three: Cluster, network: Network) -> None:
    first = three.nodes[0]
    twin = Node(first.home.with_name("twin"), network.machine(), first.options.database)
    shutil.copytree(first.disks[0], twin.disks[0])
    said = refused(*twin.program.argv)
    assert "runs already" in said
    assert "server.json" in said
    assert "Traceback" not in said


def test_disks_swapped_between_two_servers_are_refused_until_they_are_back(three: Cluster) -> None:
    first, second, third = three.nodes
    with Load([third], three.account, pullers=1) as load:
        load.lasts(1)
    for node in (first, second):
        assert node.stop() == 0
    _swap(first, second)
    for node in (first, second):
        said = refused(*node.program.argv)
        assert "and that is gone: is its disk mounted?" in said
        assert "Traceback" not in said
    _swap(first, second)
    three.mend()
    assert load.unreadable(three.nodes) == []


def _swap(first: Node, second: Node) -> None:
    spare = first.home / "spare"
    first.disks[0].rename(spare)
    second.disks[0].rename(first.disks[0])
    spare.rename(second.disks[0])
