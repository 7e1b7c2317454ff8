"""Three servers behind haproxy, configured by deploy/haproxy/tcp.cfg; one is killed."""

import http.client
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import images
from tests.functional.programs import Program, free_port, run, wait_until
from tests.functional.server import Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout, sha256_of

FILE = Path(__file__).parents[2] / "deploy" / "haproxy" / "tcp.cfg"
MIB = 1024 * 1024


def deployed(port: int, servers: list[Server]) -> str:
    """Return the configuration with this test's addresses in place of its own."""
    text, binds = re.subn(r"bind :443", f"bind 127.0.0.1:{port}", FILE.read_text())
    for number, server in enumerate(servers, 1):
        text, lines = re.subn(rf"server s{number} \S+", f"server s{number} {server.address}", text)
        assert lines == 2, "in both backends"
    assert binds == 1
    return text


@dataclass(frozen=True)
class Balancer:
    """What clients take for the registry."""

    port: int

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection, which nobody verifies."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def is_ready(self) -> bool:
        """Say whether some server answers through it."""
        connection = self.connect()
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


def knows_of_three(server: Server) -> bool:
    """Say whether it follows the layout that the third brought about; it reads them every 5 s."""
    return '"number":3,' in server.log.read_text()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    """Return three servers of one cluster, with TLS."""
    options = Options(workers=1, database=f"sqlite:///{tmp_path / 'shared.db'}", tls=True)
    servers = [Server(tmp_path / f"s{number}", options) for number in (1, 2, 3)]
    try:
        for server in servers:
            server.start()
        wait_until("all know the layout of three", lambda: all(map(knows_of_three, servers)))
        yield servers
    finally:
        for server in servers:
            server.crash()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return where haproxy says what it sees."""
    return tmp_path / "haproxy.log"


@pytest.fixture
def balancer(servers: list[Server], tmp_path: Path, log: Path) -> Iterator[Balancer]:
    """Return haproxy in front of them."""
    balancer = Balancer(free_port())
    file = tmp_path / "haproxy.cfg"
    file.write_text(deployed(balancer.port, servers))
    run("/usr/sbin/haproxy", "-c", "-f", file)
    program = Program("/usr/sbin/haproxy", "-db", "-f", file, log=log)
    program.start_until("haproxy has a server", balancer.is_ready, seconds=20)
    yield balancer
    program.kill()


def test_a_server_killed_behind_the_balancer_is_not_missed(
    balancer: Balancer, servers: list[Server], busybox: Image, tmp_path: Path, log: Path
) -> None:
    skopeo = Skopeo(balancer, servers[0].admin_account, tmp_path)
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at("admin/app:before"))
    wire = Wire(balancer, servers[0].admin_account)
    data = images.noise(6 * MIB)
    place = wire.begin_upload("admin/upload")
    place = wire.request("PATCH", place, data[: 4 * MIB]).expect(202).location

    servers[1].crash()

    place = wire.request("PATCH", place, data[4 * MIB :]).expect(202).location
    wire.finish_upload(place, sha256_of(data)).expect(201)
    for number in range(3):  # the check may not have noticed yet: a refused connection goes on
        skopeo.copy(source, skopeo.at(f"admin/app:{number}"))
        skopeo.copy(skopeo.at("admin/app:before"), f"dir:{tmp_path}/back{number}")
    wait_until("haproxy noticed", lambda: "ready/s2 is DOWN" in log.read_text(), seconds=10)
    for _ in range(6):  # every server that is left
        assert wire.pull_blob("admin/upload", sha256_of(data)) == data
    skopeo.copy(source, skopeo.at("admin/other:1"))
    assert skopeo.inspect("admin/other:1")["Digest"] == skopeo.inspect("admin/app:0")["Digest"]
    servers[1].start()
    wait_until("it is back", lambda: "ready/s2 is UP" in log.read_text(), seconds=10)
