"""The database away, and a balancer before the servers: what one of them knows, all give out (T57).

Two workers to each server, so that most requests come to a process that was never asked before.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests import images
from tests.functional.cluster.database import PORT, NetworkPostgres
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Balancer, Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, descriptor, image

CONFIG = b"{}"
PULLS = 24
"""Of a manifest and a layer each, with a login each: all workers are met."""


@pytest.fixture
def paired(network: Network, database_server: NetworkPostgres, tmp_path: Path) -> Iterator[Cluster]:
    """Return two servers of two workers each."""
    url = database_server.new_database()
    nodes = [Node(tmp_path / f"p{n}", network.machine(), url, workers=2) for n in (1, 2)]
    cluster = Cluster(nodes)
    try:
        yield cluster.start()
    finally:
        cluster.crash()


def test_what_one_worker_knows_all_give_out_while_the_database_is_away(paired: Cluster) -> None:
    account, layer = paired.account, images.noise(3_000_000)
    balancer = Balancer(paired.nodes)
    pushing = Wire(paired.nodes[0], account)
    digest = pushing.push_blob("admin/once", layer)
    pushing.push_blob("admin/once", CONFIG)
    manifest = image(descriptor(layer), config=descriptor(CONFIG, OCI_CONFIG))
    pushing.push_manifest("admin/once", "latest", manifest)
    for node in paired.nodes:
        drop = f"OUTPUT -p tcp --dport {PORT} -j DROP".split()
        node.machine.run("iptables", "--wait", "-A", *drop)
        wait_until("it is noticed", partial(_is_away, node), seconds=10)
    for _ in range(PULLS):
        pulling = Wire(balancer, account)  # it asks for a token of its own
        pulling.request("GET", "/v2/admin/once/manifests/latest").expect(200)
        assert pulling.pull_blob("admin/once", digest) == layer
    guess = Wire(balancer, replace(account, password="not this one"))
    with pytest.raises(AssertionError, match="503"):
        guess.request("GET", "/v2/admin/once/manifests/latest").expect(200)
    for node in paired.nodes:
        node.machine.heal()
    assert paired.complaints() == []


def _is_away(node: Node) -> bool:
    return Wire(node).request("GET", "/readyz").status != 200
