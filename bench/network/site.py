"""The machines that are measured: namespaces on a bridge, the storage servers' wires narrow.

A wire is narrow both ways, by a token bucket at either end (`tc tbf`). The bucket holds 10 ms,
256 KiB at 200 Mbit/s: a smaller one cannot keep the rate up between two ticks of a busy machine.
What waits for it may wait 50 ms, then it is dropped, as a switch would. Clients run where the
bridge is, and so does PostgreSQL: their wires are as fast as the machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers import peer as running_peer
from bench.registries import docker_registry
from bench.rounds import Targets
from bench.rows import Effort
from bench.wire import Target
from tests.functional.cluster.database import NetworkPostgres, network_postgres
from tests.functional.cluster.network import Machine, Network
from tests.functional.cluster.nodes import PORT, Cluster, Node
from tests.functional.programs import Program, in_namespace, wait_until
from tests.functional.server import Server

BURST_KB_OF_MBIT: Final = 1.28
LATENCY: Final = "50ms"
BALANCED_PORT: Final = 5080
READY_SECONDS: Final = 20.0
BALANCER: Final = """
global
    maxconn 1000
defaults
    mode tcp
    timeout connect 1s
    timeout check 2s
    timeout client 5m
    timeout server 5m
    balance leastconn
"""
"""docs/operations.md's, without what is there for servers that fail."""


@dataclass(frozen=True, slots=True)
class Site:
    """A network with a database, and where everything is kept."""

    network: Network
    database: NetworkPostgres
    root: Path
    mbit: int

    def machine(self, *, narrow: bool = True) -> Machine:
        """Return a machine behind a narrow wire, or one as fast as this machine."""
        machine = self.network.machine()
        if narrow:
            self.narrow(machine)
        return machine

    def narrow(self, machine: Machine) -> None:
        """Make its wire a narrow one, until it is healed."""
        burst = f"{round(self.mbit * BURST_KB_OF_MBIT)}kb"
        machine.narrow(self.mbit, burst=burst, latency=LATENCY)

    @contextmanager
    def cluster(
        self,
        count: int,
        copies: int,
        *,
        narrow: bool = True,
        variables: tuple[tuple[str, str], ...] = (),
    ) -> Iterator[Cluster]:
        """Run so many storage servers, one worker each; `variables` are settings of theirs."""
        url = self.database.new_database(copies=copies)
        home = self.root / f"{count}-servers"
        home.mkdir()
        nodes = [
            Node(home / f"s{n}", self.machine(narrow=narrow), url, variables=variables)
            for n in range(1, count + 1)
        ]
        cluster = Cluster(nodes)
        try:
            yield cluster.start()
        finally:
            cluster.crash()

    @contextmanager
    def gateway(self, cluster: Cluster, workers: int = 2) -> Iterator[Target]:
        """Run a server that has no store, on a machine whose wire is not narrow."""
        home, url = self.root / "gateway", cluster.nodes[0].options.database
        node = Node(home, self.machine(narrow=False), url, workers=workers, no_store=True)
        try:
            yield as_target(node.start(), cluster)
        finally:
            node.crash()

    @contextmanager
    def peer(self, *, narrow: bool = True) -> Iterator[Target]:
        """Run one docker-registry behind the wire that each of our storage servers has."""
        machine = self.machine(narrow=narrow)
        with running_peer(docker_registry(), self.root / "peer", place=machine) as target:
            yield target

    @contextmanager
    def balanced(self, ours: Target, other: Target, cluster: Cluster) -> Iterator[Targets]:
        """Run haproxy before all servers of the cluster, and another one before the peer."""
        with (
            self._balancer("ours", [node.address for node in cluster.nodes], ours) as mine,
            self._balancer("peer", [other.address], other) as peer,
        ):
            yield Targets(mine, (peer,))

    @contextmanager
    def _balancer(self, name: str, servers: list[str], target: Target) -> Iterator[Target]:
        machine = self.machine(narrow=False)
        lines = [f"    server s{n} {address}" for n, address in enumerate(servers)]
        front = f"listen registry\n    bind {machine.address}:{BALANCED_PORT}\n"
        file = self.root / f"haproxy-{name}.cfg"
        file.write_text(BALANCER + front + "\n".join([*lines, ""]))
        inside = in_namespace(machine.namespace)
        program = Program(
            *inside, "/usr/sbin/haproxy", "-db", "-f", file, log=file.with_suffix(".log")
        )
        program.start()
        try:
            wait_until("haproxy listens", lambda: _listens(machine), seconds=READY_SECONDS)
            yield Target(
                target.name,
                BALANCED_PORT,
                target.repository,
                target.user,
                target.password,
                pid=program.pid,
                host=machine.address,
            )
        finally:
            program.kill()


@contextmanager
def site(root: Path, effort: Effort) -> Iterator[Site]:
    """Make a network and a database for the time of the block."""
    with Network() as network, network_postgres(network) as database:
        yield Site(network, database, root, effort.mbit)


@contextmanager
def behind_a_gateway(root: Path, effort: Effort, servers: int, copies: int) -> Iterator[Targets]:
    """Run storage servers behind narrow wires, their gateway, and the peer."""
    with (
        site(root, effort) as here,
        here.cluster(servers, copies) as cluster,
        here.gateway(cluster) as ours,
        here.peer() as peer,
    ):
        yield Targets(ours, (peer,))


def as_target(server: Server, cluster: Cluster) -> Target:
    """Return the server as what clients measure, with a token of the administrator's."""
    account = cluster.account
    return Target(
        "treescale",
        PORT,
        f"{account.name}/bench",
        account.name,
        account.password,
        pid=server.program.pid,
        host=server.options.host,
    )


def _listens(machine: Machine) -> bool:
    return f":{BALANCED_PORT}" in machine.run("ss", "-Htln")
