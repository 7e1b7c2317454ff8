"""Real proxies in front of a server, configured by the files of deploy/; two more are away."""

import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import images
from tests.functional.programs import Program, free_port, run, wait_until
from tests.functional.server import ANYBODY, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout, sha256_of

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = {
    "nginx": "nginx/treescale.conf",
    "haproxy-http": "haproxy/https.cfg",
    "haproxy-tcp": "haproxy/proxy-protocol.cfg",
    "caddy": "caddy/Caddyfile",
}
BUFFERING = "nginx-buffering"
"""nginx, and what keeps it from writing bodies to a disk is left out."""
MIB = 1024 * 1024
FILE_BYTES_MAX = 4 * MIB
"""A proxy that keeps a body on a disk fails by it."""
CLIENT = "127.0.0.77"
"""Where our requests come from, so that they are told from the proxy's."""
SPOOFED = "192.0.2.66"


@dataclass(frozen=True)
class Front:
    """A proxy, and the server behind it."""

    port: int
    server: Server
    tls: bool = True

    @property
    def address(self) -> str:
        """Return host and port, as clients type them."""
        return f"127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        source = (CLIENT, 0)
        if not self.tls:
            return http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=60, source_address=source
            )
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=ANYBODY, source_address=source
        )

    def is_ready(self) -> bool:
        """Say whether the server answers through it."""
        connection = self.connect()
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def lines(self, **last: object) -> list[dict[str, object]]:
        """Return the requests in the server's log, once one that has these fields is among them.

        A request is told a moment after it was answered.
        """
        found: list[dict[str, object]] = []

        def told() -> bool:
            whole, _, _ = self.server.log.read_text().rpartition("\n")
            lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
            found[:] = [line for line in lines if line["event"] == "request"]
            return any(last.items() <= line.items() for line in found)

        wait_until(f"the log has {last}", told)
        return found


def deployed(kind: str, *changes: tuple[str, str]) -> str:
    """Return a configuration of deploy/, with this test's addresses in place of its own.

    Where the other two servers should be nobody listens.
    """
    text = (DEPLOY / FILES[kind]).read_text()
    away = (r"10\.0\.0\.1[23]:\d+", f"127.0.0.2:{free_port()}")
    for pattern, instead in (*changes, away):
        text, number = re.subn(pattern, instead, text)
        assert number, f"{FILES[kind]} has no {pattern}"
    return text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return certificate and key in one file, as haproxy wants them."""
    home = tmp_path_factory.mktemp("certificate")
    key, file = home / "key", home / "both.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "30", "-subj", "/CN=registry.example"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file),
    )
    file.write_text(file.read_text() + key.read_text())
    return file


class Told(Server):
    """A server that is told more on its command line."""

    more: tuple[str, ...] = ()

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), *self.more]


Fronts = Callable[[str], Front]


@pytest.fixture
def fronts(tmp_path: Path, certificate: Path) -> Iterator[Fronts]:
    """Return what starts a server, and a proxy of this kind in front of it."""
    programs: list[Program] = []
    servers: list[Server] = []

    def start(kind: str) -> Front:
        port, behind = free_port(), free_port()
        server = Told(tmp_path / "server", Options(workers=1, tls=kind == "haproxy-tcp"))
        servers.append(server)
        server.more = ("--trusted-proxies", "127.0.0.1")
        if kind == "haproxy-tcp":
            server.more += ("--listen-proxy", f"127.0.0.1:{behind}")
        elif kind == "nginx-unix":
            server.more = ("--listen", f"unix:{tmp_path}/treescale.sock")
        server.program = Program(*server._words(), log=server.log, env=server._environment())
        server.start()
        argv = arguments(kind, tmp_path, certificate, port, server, behind)
        limited = ("prlimit", f"--fsize={FILE_BYTES_MAX}", *argv)
        program = Program(*limited, log=tmp_path / "proxy.log", env={"HOME": str(tmp_path)})
        programs.append(program)
        front = Front(port, server)
        program.start_until(f"{kind} passes on", front.is_ready, seconds=30)
        if kind.startswith("haproxy"):
            for away in ("ready/s2 is DOWN", "ready/s3 is DOWN"):
                wait_until("it has noticed", lambda: away in program.log.read_text())  # noqa: B023
        return front

    yield start
    for program in programs:
        program.kill()
    for server in servers:
        server.crash()


def arguments(
    kind: str, home: Path, certificate: Path, port: int, server: Server, behind: int
) -> list[str | Path]:
    """Return the command that runs a proxy, once its configuration is written."""
    file = home / "proxy.conf"
    if kind.startswith("nginx"):
        target = server.address if kind != "nginx-unix" else f"unix:{home}/treescale.sock"
        left_out = (("proxy_request_buffering off;", ""),) if kind == BUFFERING else ()
        text = deployed(
            "nginx",
            *left_out,
            ("listen 443", f"listen 127.0.0.1:{port}"),
            (r"/etc/ssl/registry\.\w+", str(certificate)),
            (r"10\.0\.0\.11:5000", target),
        )
        places = "".join(
            f"{name}_temp_path {home}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file.write_text(
            f"user root;\nworker_processes 1;\npid {home}/pid;\nerror_log stderr;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
        )
        return ["/usr/sbin/nginx", "-c", file, "-g", "daemon off;"]
    if kind == "caddy":
        text = deployed(
            "caddy",
            ("registry.example:443", f"https://127.0.0.1:{port}"),
            (r"/etc/ssl/registry\.\w+", str(certificate)),
            (r"10\.0\.0\.11:5000", server.address),
        )
        file.write_text("{\n    admin off\n    auto_https disable_redirects\n}\n" + text)
        return ["/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", file]
    changes = [("bind :443", f"bind 127.0.0.1:{port}")]
    if kind == "haproxy-http":
        changes += [
            (r"/etc/ssl/registry\.pem", str(certificate)),
            (r"10\.0\.0\.11:5000", server.address),
        ]
    else:
        changes += [
            (r"10\.0\.0\.11:5443", f"127.0.0.1:{behind}"),
            ("check port 443", f"check port {server.port}"),
        ]
    file.write_text(deployed(kind, *changes))
    return ["/usr/sbin/haproxy", "-db", "-f", file]


KINDS = ["nginx", "nginx-unix", "haproxy-http", "haproxy-tcp", "caddy"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_push_and_a_pull_through_a_proxy(
    kind: str, fronts: Fronts, busybox: Image, tmp_path: Path
) -> None:
    front = fronts(kind)
    account = front.server.admin_account
    connection = front.connect()
    connection.request("GET", "/v2/", headers={"X-Forwarded-For": SPOOFED})
    challenge = connection.getresponse().headers["WWW-Authenticate"]
    connection.close()
    assert f'realm="https://{front.address}/token"' in challenge

    skopeo = Skopeo(front, account, tmp_path)
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at("admin/app:1"))
    skopeo.copy(skopeo.at("admin/app:1"), f"dir:{tmp_path}/back")

    size = 300 * MIB if kind in ("nginx", "haproxy-tcp") else 20 * MIB
    data = images.noise(size)
    wire = Wire(front, account)
    digest = wire.push_blob("admin/big", data)
    assert digest == sha256_of(data)
    assert wire.pull_blob("admin/big", digest) == data

    path = f"/v2/admin/big/blobs/{digest}"
    lines = front.lines(path=path, method="GET", status=200)
    ours = [line for line in lines if line["path"] == path]
    pulls = [line for line in ours if line["method"] == "GET"]
    assert {line["client"] for line in ours} == {CLIENT}
    assert [line["sent"] for line in pulls if line["status"] == 200] == [size]
    assert SPOOFED not in {line["client"] for line in lines}


def test_a_proxy_that_buffered_bodies_on_a_disk_would_be_found_out(fronts: Fronts) -> None:
    """The control of `FILE_BYTES_MAX`."""
    front = fronts(BUFFERING)
    wire = Wire(front, front.server.admin_account)
    wire.push_blob("admin/big", images.noise(MIB))
    place = wire.begin_upload("admin/big")
    data = images.noise(20 * MIB)
    try:
        answer = wire.finish_upload(place, sha256_of(data), data)
    except (OSError, http.client.HTTPException):
        return  # the kernel has ended it
    assert answer.status >= 500


@pytest.mark.parametrize("kind", KINDS)
def test_who_guesses_is_told_from_others_behind_the_same_proxy(kind: str, fronts: Fronts) -> None:
    front = fronts(kind)
    found = []
    for number in range(3):
        connection = front.connect()
        headers = {
            "Authorization": "Basic YWRtaW46d3Jvbmc=",
            "X-Forwarded-For": f"192.0.2.{number}",
            "Forwarded": f"for=192.0.2.{number}",
        }
        connection.request("GET", "/token?service=x", headers=headers)
        found.append(connection.getresponse().status)
        connection.close()
    assert set(found) <= {401, 429}
    lines = front.lines(path="/token", status=found[-1])
    refused = [line for line in lines if line["status"] in (401, 429)]
    assert {line["client"] for line in refused if line["path"] == "/token"} == {CLIENT}


def test_without_trust_the_header_of_the_proxy_counts_for_nothing_and_it_is_told(
    tmp_path: Path, certificate: Path
) -> None:
    """The control: the same nginx, and a server that does not know it."""
    server = Server(tmp_path / "server", Options(workers=2)).start()
    port = free_port()
    argv = arguments("nginx", tmp_path, certificate, port, server, 0)
    program = Program(*argv, log=tmp_path / "proxy.log")
    front = Front(port, server)
    try:
        program.start_until("nginx passes on", front.is_ready, seconds=30)
        connection = front.connect()
        connection.request("GET", "/v2/")
        challenge = connection.getresponse().headers["WWW-Authenticate"]
        connection.close()
        assert 'realm="http://' in challenge
        assert CLIENT not in {line["client"] for line in front.lines(path="/v2/", status=401)}
        wait_until("it is told", lambda: "proxy.untrusted" in server.log.read_text())
        assert server.log.read_text().count("proxy.untrusted") == 1
    finally:
        program.kill()
        server.crash()


def test_a_socket_file_is_removed_at_the_end_and_a_stale_one_replaced(tmp_path: Path) -> None:
    file = tmp_path / "treescale.sock"
    server = Told(tmp_path / "server", Options(workers=1))
    server.more = ("--listen", f"unix:{file}")
    server.program = Program(*server._words(), log=server.log, env=server._environment())
    server.start()
    assert file.is_socket()
    assert file.stat().st_mode & 0o777 == 0o660
    server.crash()
    assert file.is_socket(), "nobody was there to remove it"
    server.start()
    assert server.stop() == 0
    assert not file.exists()


def test_what_is_printed_for_clients_can_be_pasted_there(tmp_path: Path) -> None:
    server = Server(tmp_path / "server", Options(workers=1, tls=True, host="0.0.0.0"))  # noqa: S104
    server.start()
    try:
        whole = re.compile(r"somebody else has answered.*\n.*\n")
        wait_until("it says so", lambda: bool(whole.search(server.log.read_text())))
        said = server.log.read_text().splitlines()
        commands = [line.strip() for line in said if re.match(r"  (mkdir|openssl) ", line)]
        script = "\n".join(commands).replace("/etc/docker/certs.d", str(tmp_path / "certs.d"))
        printed = run("sh", "-ec", script)
        (begin,) = [at for at, line in enumerate(said) if "somebody else has answered" in line]
        assert f"={said[begin + 1].strip()}\n" in printed
        (trusted,) = (tmp_path / "certs.d").glob("*/ca.crt")
        address, _, port = trusted.parent.name.rpartition(":")
        connection = http.client.HTTPSConnection(
            address, int(port), context=ssl.create_default_context(cafile=str(trusted)), timeout=20
        )
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == http.client.OK
        connection.close()
    finally:
        server.crash()
