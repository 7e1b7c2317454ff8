"""A rolling upgrade from 0.1.0: one server after the other under load, and no client notices."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.fixtures.v010 import unpacked_program
from tests.functional.cluster.database import NetworkPostgres
from tests.functional.cluster.load import Load
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Balancer, Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.server import TREESCALE, Account

SERVERS: Final = 3
OWED_SECONDS_MAX: Final = 60


@pytest.fixture
def old(network: Network, database_server: NetworkPostgres, tmp_path: Path) -> Cluster:
    """Return three servers of 0.1.0, which run on today's dependencies."""
    source = unpacked_program(tmp_path / "program")
    url = database_server.new_database(empty=True)
    nodes = [
        Node(
            tmp_path / f"s{number}",
            network.machine(),
            url,
            variables=(("PYTHONPATH", str(source)),),
            launcher=(sys.executable, "-m", "treescale.cli.main"),
        )
        for number in range(1, SERVERS + 1)
    ]
    return Cluster(nodes)


def test_servers_are_upgraded_one_by_one_and_no_request_fails(
    old: Cluster, database_server: NetworkPostgres
) -> None:
    """Pushes and pulls go on beside the migration, and beside servers of both versions."""
    url = old.nodes[0].options.database

    def owed() -> bool:
        return database_server.ask(url, "SELECT count(*) FROM owed") != [(0,)]

    try:
        first, *others = old.nodes
        started(first)
        with ThreadPoolExecutor(len(others)) as starting:
            list(starting.map(started, others))
        old.wait_until_whole()
        wait_until("all follow one layout", lambda: all(map(follows_all, old.nodes)), every=0.2)
        admin = first.admin_account
        balancer = Balancer(old.nodes)
        with Load([balancer], Account(admin.name, admin.password), pushers=1) as load:
            for node in old.nodes:
                with balancer.without(node):
                    assert node.stop() == 0
                    node.configure(launcher=(str(TREESCALE),), variables=())
                    node.start()
                old.wait_until_whole(seconds=30)
                wait_until("none is owed a copy", lambda: not owed(), seconds=OWED_SECONDS_MAX)
            load.lasts()
        assert load.failures == []
        assert load.unreadable(old.nodes) == []
        assert old.complaints() == []
        versions = {row[0] for row in database_server.ask(url, "SELECT version FROM servers")}
        assert len(versions) == 1
    finally:
        old.crash()


def started(node: Node) -> None:
    """Start one of 0.1.0, whose workers have no name of their own to be found by."""
    node.program.start_until("treescale serve is ready", node.is_ready, seconds=40)
    node.running = True


def follows_all(node: Node) -> bool:
    """Say whether the last layout that it follows is of all stores."""
    followed = node.events("layout.followed")
    return bool(followed) and followed[-1]["stores"] == SERVERS
