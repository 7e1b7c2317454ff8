"""/metrics of three servers with two workers each: its numbers are what was done, and befell."""

import http.client
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import images
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import outcome, wait_until, workers_of
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from treescale.server.watch.gathering import ROWS_SECONDS

pytestmark = pytest.mark.early

PORT = 9500
SEEN_SECONDS_MAX = ROWS_SECONDS + 20.0
"""Until a server that is gone is silent in the rows, and a page tells of them."""
REPOSITORY = "admin/app"
SCRAPES = 8
"""So many, each by a connection of its own, and both workers have answered some."""


def scraped(node: Node) -> str:
    """Return the page, by a connection of its own: whichever worker accepts it answers."""
    url = f"http://{node.machine.address}:{PORT}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def numbers(node: Node) -> dict[str, float]:
    lines = re.findall(r"^([a-z][^ ]*(?:\{.*\})?) (\S+)$", scraped(node), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def requests(node: Node, route: str, method: str, status: int) -> float:
    labels = f'route="{route}",method="{method}",status="{status}"'
    return numbers(node).get(f"treescale_http_requests_total{{{labels}}}", 0)


def push_image(wire: Wire, tag: str, data: bytes) -> str:
    """Push an image of one layer; return the layer's digest."""
    layer, config = wire.push_blob(REPOSITORY, data), b"{}" + b" " * len(tag)
    described = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": OCI_CONFIG,
            "digest": wire.push_blob(REPOSITORY, config),
            "size": len(config),
        },
        "layers": [{"mediaType": OCI_LAYER, "digest": layer, "size": len(data)}],
    }
    wire.push_manifest(REPOSITORY, tag, described)
    return layer


@pytest.fixture
def three(network: Network, database_server: NetworkPostgres, tmp_path: Path) -> Iterator[Cluster]:
    """Return three servers, each with an address for Prometheus."""
    url, nodes = database_server.new_database(), []
    for number in range(1, 4):
        machine = network.machine()
        listens = (("TREESCALE_METRICS_LISTEN", f"{machine.address}:{PORT}"),)
        home = tmp_path / f"s{number}"
        nodes.append(Node(home, machine, url, workers=2, variables=listens))
    cluster = Cluster(nodes)
    try:
        yield cluster.start()
    finally:
        cluster.crash()


def test_the_numbers_are_what_was_done(three: Cluster, database_server: NetworkPostgres) -> None:
    first, second, third = three.nodes
    data = [images.noise(3_000_000 + number) for number in range(3)]
    pusher, puller = Wire(first, three.account), Wire(second, three.account)
    layers = [push_image(pusher, f"v{number}", each) for number, each in enumerate(data)]
    for layer, each in zip(layers, data, strict=True):
        assert puller.pull_blob(REPOSITORY, layer) == each
    for _ in range(20):
        puller.request("GET", f"/v2/{REPOSITORY}/manifests/v0").expect(200)

    code, said = outcome("promtool", "check", "metrics", text_in=scraped(first))
    assert code == 0, said
    for _ in range(SCRAPES):
        assert requests(first, "manifest", "PUT", 201) == len(data)
        assert requests(second, "manifest", "GET", 200) == 20
        assert requests(second, "blob", "GET", 200) == len(data)
    received = numbers(first)['treescale_traffic_bytes_total{flow="from_clients"}']
    assert sum(map(len, data)) <= received < sum(map(len, data)) + 10_000
    assert numbers(first)["treescale_processes"] == 3, "two workers, and the one that walks"
    assert numbers(first)['treescale_cluster_servers{condition="up"}'] == 3
    assert numbers(first)['treescale_database_call_duration_seconds_count{call="write"}'] > 0
    store, *_ = [name for name in numbers(first) if "store_call_duration_seconds_count" in name]
    assert numbers(first)[store] > 0

    first.kill_worker(workers_of(first.program.pid)[0])
    wait_until_told(first, "treescale_processes_started_total", lambda value: value == 4)
    wait_until_told(first, "treescale_processes", lambda value: value == 3)
    assert requests(first, "manifest", "PUT", 201) == len(data), "counts outlive a worker"

    lose_a_blob(three, layers[0])
    third.crash()
    lost_a_server(first, second, third)
    database_server.pause()
    try:
        wait_until_told(first, "treescale_cluster_figures_known", lambda value: value == 0)
        found = numbers(first)
        assert "treescale_cluster_lost_chunks" not in found
        assert found['treescale_check_ok{check="database_read"}'] == 0
        assert requests(first, "manifest", "PUT", 201) == len(data)
    finally:
        database_server.resume()


def lose_a_blob(three: Cluster, layer: str) -> None:
    """Take all copies of all chunks away: what is lost is noted, and told by every server."""
    for node in three.nodes:
        for path in (node.disks[0] / "chunks").glob("*/*/*"):
            path.unlink()
    puller = Wire(three.nodes[1], three.account)
    with pytest.raises((AssertionError, OSError, http.client.HTTPException)):
        puller.pull_blob(REPOSITORY, layer)
    for node in three.nodes:
        wait_until_told(node, "treescale_cluster_lost_chunks", lambda value: value > 0)


def wait_until_told(node: Node, name: str, fits: Callable[[float], bool]) -> None:
    """Return when the page has a value that fits, whichever worker tells it."""

    def told() -> bool:
        return all(fits(numbers(node).get(name, -1)) for _ in range(SCRAPES))

    wait_until(
        f"{node.home.name} tells of {name}",
        told,
        seconds=SEEN_SECONDS_MAX,
        every=0.5,
    )


def lost_a_server(first: Node, second: Node, gone: Node) -> None:
    """The others say so: at once that it is not asked, and soon that its store is silent."""
    peer = f'treescale_peer_up{{peer="{gone.server_id}"}}'
    for node in (first, second):
        wait_until_told(node, peer, lambda value: value == 0)
        for what in ("stores", "servers"):
            silent = f'treescale_cluster_{what}{{condition="silent"}}'
            wait_until_told(node, silent, lambda value: value == 1)
        wait_until_told(node, "treescale_cluster_may_stop", lambda value: value == 0)
