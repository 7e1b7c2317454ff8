"""Robots on several servers: what is revoked by one command is over on each within a minute."""

from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.server import Account
from tests.functional.wire import Wire
from tests.oci.documents import OCI_CONFIG, descriptor, image

FELT_SECONDS_MAX = 60.0
APP = "admin/robots-app"
MANIFEST = f"/v2/{APP}/manifests/1"


def status_with(node: Node, bearer: str) -> int:
    """Return what a server answers to this token and nothing else."""
    return Wire(node)._send("GET", MANIFEST, None, {}, bearer).status


def test_a_robot_that_is_removed_is_nobody_on_each_server(three: Cluster) -> None:
    first = three.nodes[0]
    secret = first._administer("robot", "add", "admin", "ci").strip()
    ci = Account("admin+ci", secret)
    wire = Wire(first, ci)
    wire.push_blob(APP, b"{}")
    wire.push_manifest(APP, "1", image(config=descriptor(b"{}", OCI_CONFIG)))
    clients = [Wire(node, ci) for node in three.nodes]
    for client in clients:
        client.request("GET", MANIFEST).expect(200)
    bearers = [next(iter(client._tokens.values())) for client in clients]
    first._administer("robot", "remove", "admin+ci", "--yes")
    wait_until(
        "no server knows the robot, its bearer tokens nor its secret",
        lambda: all(
            status_with(node, bearer) == 401
            and Wire(node, ci).with_basic("GET", "/token").status == 401
            for node in three.nodes
            for bearer in bearers
        ),
        seconds=FELT_SECONDS_MAX,
        every=0.3,
    )
