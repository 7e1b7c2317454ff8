"""A rolling restart: one server at a time may be stopped, and no client notices."""

import base64
import http.client
import json
from typing import Any

from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import Load
from tests.functional.cluster.nodes import Balancer, Node
from tests.functional.programs import wait_until

ROLLED_SECONDS_MAX = 120
"""For one server: until it may be stopped after the one before."""
WAIT_STATUS = 3
"""Of `treescale cluster may-stop` when the server has to wait."""


def asked(node: Node) -> tuple[int, dict[str, Any]]:
    """Ask a server, over HTTP, whether it may be stopped."""
    account = node.admin_account
    secret = base64.b64encode(f"{account.name}:{account.password}".encode()).decode()
    connection = node.connect(seconds=30)
    try:
        connection.request("POST", "/stopz", headers={"Authorization": f"Basic {secret}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_servers_are_restarted_one_by_one_and_no_request_fails(clusters: Clusters) -> None:
    cluster = clusters(3, copies=2)
    first, second, third = cluster.nodes
    balancer = Balancer(cluster.nodes)
    try:
        with Load([balancer], cluster.account, pushers=0) as load:
            first.admin("cluster", "may-stop", "--wait")  # it finds the server by its --data
            assert second.outcome("cluster", "may-stop")[0] == WAIT_STATUS
            for node, other in ((first, second), (second, third), (third, first)):
                wait_until(
                    f"{node.home.name} may be stopped",
                    lambda: asked(node)[0] == http.client.OK,  # noqa: B023  called at once
                    seconds=ROLLED_SECONDS_MAX,
                )
                told_to_wait(other)
                with balancer.without(node):
                    assert node.stop() == 0
                    told_to_wait(other)
                    node.start()
        assert load.failures == []
        assert load.unreadable(cluster.nodes) == []
        assert cluster.complaints() == []
    finally:
        cluster.crash()


def told_to_wait(node: Node) -> None:
    """Check that two are never told yes together."""
    status, answer = asked(node)
    assert (status, answer["may_stop"]) == (http.client.SERVICE_UNAVAILABLE, False)
    assert "may be stopped, or is not back" in answer["reason"]
