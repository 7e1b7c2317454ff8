"""What the tests of clusters share: a network, a PostgreSQL, servers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.functional.cluster.database import NetworkPostgres, network_postgres
from tests.functional.cluster.network import Network
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.conftest import Measured, short_directory
from tests.functional.docker import Daemon, Docker

__all__ = ["Measured"]


class Clusters(Protocol):
    """Starts so many servers on a database of their own, with this many copies of each chunk."""

    def __call__(
        self, count: int, *, copies: int | None = None, workers: int = 1, tls: bool = False
    ) -> Cluster: ...


class Gateways(Protocol):
    """Adds a server without stores to a cluster for the time of a block."""

    def __call__(self, cluster: Cluster) -> AbstractContextManager[Node]: ...


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """Return a network of the process's own."""
    with Network() as network:
        yield network


@pytest.fixture(scope="session")
def database_server(network: Network) -> Iterator[NetworkPostgres]:
    """Return a PostgreSQL on that network."""
    with network_postgres(network) as postgres:
        yield postgres


@pytest.fixture(scope="session")
def clusters(
    network: Network, database_server: NetworkPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clusters]:
    """Return what starts clusters; they end with the session."""
    started: list[Cluster] = []

    def start(
        count: int, *, copies: int | None = None, workers: int = 1, tls: bool = False
    ) -> Cluster:
        home, url = tmp_path_factory.mktemp("cluster"), database_server.new_database(copies=copies)
        nodes = [
            Node(home / f"s{n}", network.machine(), url, workers=workers, tls=tls)
            for n in range(1, count + 1)
        ]
        started.append(Cluster(nodes))
        return started[-1].start()

    yield start
    for cluster in started:
        cluster.crash()


@pytest.fixture
def gateways(network: Network, tmp_path: Path) -> Gateways:
    """Return what adds a server without stores."""

    @contextmanager
    def add(cluster: Cluster) -> Iterator[Node]:
        like = cluster.nodes[0].options
        machine = network.machine()
        home = tmp_path / machine.namespace
        node = Node(home, machine, like.database, tls=like.tls, no_store=True)
        node.start()
        try:
            yield node
            node.machine.heal()
            assert node.stop() == 0
        finally:
            node.crash()

    return add


@pytest.fixture(scope="session")
def plain_daemon(network: Network) -> Iterator[Daemon]:
    """Return a dockerd that reaches the servers without TLS."""
    with short_directory() as home:
        daemon = Daemon(home, plain=network.cidr).start()
        yield daemon
        daemon.stop()


@pytest.fixture
def plain_docker(plain_daemon: Daemon, tmp_path: Path) -> Docker:
    """Return a docker command line on it that never logged in."""
    return Docker(plain_daemon, tmp_path / "docker-config")


@pytest.fixture(scope="session")
def four_servers(clusters: Clusters) -> Cluster:
    """Return four servers: three copies of each chunk."""
    return clusters(4)


@pytest.fixture(scope="session")
def three_servers(clusters: Clusters) -> Cluster:
    """Return three servers: each has a copy of every chunk."""
    return clusters(3)


@pytest.fixture
def four(four_servers: Cluster) -> Iterator[Cluster]:
    """Return them whole; afterwards nothing in their logs is an error."""
    four_servers.mend()
    yield four_servers
    assert four_servers.complaints() == []


@pytest.fixture
def three(three_servers: Cluster) -> Iterator[Cluster]:
    """Return them whole; afterwards nothing in their logs is an error."""
    three_servers.mend()
    yield three_servers
    assert three_servers.complaints() == []
