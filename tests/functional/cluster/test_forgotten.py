"""A server that is forgotten while it runs: it is told so, serves nothing, and stays out."""

import asyncio
import http.client
import json

from tests.functional.cluster.conftest import Clusters
from tests.functional.cluster.load import Load
from tests.functional.cluster.nodes import Balancer, Node
from tests.functional.programs import wait_until
from treescale.metadata.database import open_database

NOTICED_SECONDS_MAX = 60
PROCESSES = 2
"""One worker, and what walks."""


def forget(node: Node) -> None:
    """Forget it although it runs, as if it had been silent: the command would wait for that."""

    async def work() -> None:
        database = open_database(node.options.database)
        try:
            await database.servers.remove(node.server_id, actor="cli:test")
        finally:
            await database.close()

    asyncio.run(work())


def answer(node: Node, path: str) -> tuple[int, str]:
    """Ask a server for something without credentials."""
    connection = node.connect()
    try:
        connection.request("GET", path)
        found = connection.getresponse()
        return found.status, found.read().decode()
    finally:
        connection.close()


def telling(node: Node) -> int:
    """Return how many processes of a server have said that it was forgotten."""
    return len({event["pid"] for event in node.events("server.forgotten")})


def test_a_forgotten_server_that_runs_says_so_and_stays_out(clusters: Clusters) -> None:
    cluster = clusters(3, copies=2)
    gone, *others = cluster.nodes
    server_id = gone.server_id
    balancer = Balancer(cluster.nodes)
    try:
        with balancer.without(gone), Load([balancer], cluster.account) as load:
            load.lasts(1)
            forget(gone)
            wait_until("each process tells of it", lambda: telling(gone) == PROCESSES, every=0.2)
            status, said = answer(gone, "/v2/")
            assert status == http.client.SERVICE_UNAVAILABLE
            message = json.loads(said)["errors"][0]["message"]
            assert "no part of the registry any more: ask another one" in message
            wait_until(
                "it says so to balancers",
                lambda: "the cluster has forgotten this server" in answer(gone, "/readyz")[1],
                every=0.2,
            )
            before = len(gone.events("background.failed"))
            wait_until(
                "it tries to say that it lives, and is not heard",
                lambda: len(gone.events("background.failed")) > before,
                seconds=NOTICED_SECONDS_MAX,
                every=0.5,
            )
            ids = [each["server_id"] for each in others[0].status()["servers"]]
            assert len(ids) == 2
            assert server_id not in ids
        assert load.failures == []
        assert load.unreadable(others) == []
        gone.stop()
        gone.start()  # somebody wants it back: it begins as any server does
        assert answer(gone, "/v2/")[0] == http.client.UNAUTHORIZED
        assert load.unreadable(cluster.nodes) == []
    finally:
        cluster.crash()
