"""Clients that hold on: thousands of slow ones, stalled bodies, unread answers, no descriptors.

The server has its real limits here (docs/operations.md, "Limits on connections"); upper bounds on
time are generous, since others load the machine.
"""

import contextlib
import http.client
import os
import resource
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.functional.conftest import Serve
from tests.functional.programs import children_of, wait_until
from tests.functional.server import Options, Server
from tests.functional.wire import Wire
from tests.images import sha256_of

pytestmark = pytest.mark.early

MIB = 1024 * 1024
SLOW_CONNECTIONS = 2000
HEAD = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: "
LATE_SECONDS = 60
"""More than any limit of seconds here may be missed by."""


def workers(server: Server) -> list[int]:
    """Return the server's processes."""
    return [server.program.pid, *children_of(server.program.pid)]


def descriptors(server: Server) -> int:
    """Return how many descriptors are open in all its processes."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers(server))


def fullest(server: Server) -> int:
    """Return how many descriptors the process has that has most."""
    return max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers(server))


def resident(server: Server) -> int:
    """Return the bytes its processes hold in memory, together."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in workers(server)]
    return sum(pages) * resource.getpagesize()


class Crowd:
    """Many connections that send a byte each second."""

    def __init__(self, server: Server, number: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.answers: dict[socket.socket, bytes] = {}
        self.left: set[socket.socket] = set()
        for _ in range(number):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            one.sendall(HEAD)
            one.settimeout(0)
            self._selector.register(one, selectors.EVENT_READ)
            self.left.add(one)
            self.answers[one] = b""

    def drip(self) -> None:
        """Send one more byte on each."""
        for one in self.left:
            with contextlib.suppress(OSError):
                one.send(b"x")

    def listen(self, seconds: float) -> None:
        """Take what the server says for so long."""
        until = time.monotonic() + seconds
        while self.left and (rest := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(rest):
                self._take(key.fileobj)

    def _take(self, one: object) -> None:
        assert isinstance(one, socket.socket)
        said = b""
        with contextlib.suppress(ConnectionError):
            said = one.recv(4096)
        self.answers[one] += said
        if not said:
            self._selector.unregister(one)
            self.left.discard(one)
            one.close()

    def close(self) -> None:
        """Leave."""
        for one in self.left:
            one.close()
        self._selector.close()


class Other:
    """A client that goes on working meanwhile, on a new connection each time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.statuses: list[int] = []
        self.failed: list[OSError] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join(LATE_SECONDS)

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            connection = self._server.connect()
            try:
                connection.request("GET", "/v2/")
                self.statuses.append(connection.getresponse().status)
            except OSError as error:
                self.failed.append(error)
            finally:
                connection.close()


@pytest.mark.usefixtures("stalled")
def test_two_thousand_slow_heads(serve: Serve) -> None:
    """T82: each is cut, others are served meanwhile, and nothing is left of them."""
    server = serve(Options(workers=2))
    Wire(server, server.admin_account).with_basic("GET", "/v2/").expect(200)
    before = descriptors(server), resident(server)
    with Other(server) as other:
        crowd = Crowd(server, SLOW_CONNECTIONS)
        at_once = descriptors(server) - before[0]
        deadline = time.monotonic() + LATE_SECONDS
        while crowd.left and time.monotonic() < deadline:
            crowd.drip()
            crowd.listen(1)
        left = len(crowd.left)
        crowd.close()
    assert left == 0, "connections that are still open"
    assert at_once > SLOW_CONNECTIONS // 2, "there was no crowd"
    refused = sum(answer.startswith(b"HTTP/1.1 408 ") for answer in crowd.answers.values())
    assert refused > SLOW_CONNECTIONS * 0.9  # a reset may overtake a few
    assert other.failed == []
    assert len(other.statuses) > 20
    assert set(other.statuses) == {401}
    wait_until("descriptors are free", lambda: descriptors(server) <= before[0] + 8)
    assert resident(server) < before[1] + 96 * MIB
    assert "request.failed" not in server.log.read_text()


def hold(server: Server, head: str, body: bytes = b"", buffer_bytes: int = 0) -> ssl.SSLSocket:
    """Return a connection that has sent this, and will not do much more."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.socket()
    if buffer_bytes:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    plain.connect(("127.0.0.1", server.port))
    held = context.wrap_socket(plain)
    held.sendall(head.encode() + body)
    return held


def bearer(wire: Wire, path: str, scope: str) -> str:
    """Return the header's value for a request of one's own."""
    token = wire.with_basic("GET", f"/token?scope={scope}").expect(200).json()["token"]
    return f"{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"


@dataclass
class Stalled:
    """A server over TLS with clients that do nothing, and what they are about to do."""

    server: Server
    wire: Wire
    before: int
    """Descriptors before they came."""
    layer: bytes
    digest: str
    place: str
    body: ssl.SSLSocket
    stranger: ssl.SSLSocket
    readers: Sequence[ssl.SSLSocket]


BODY_BYTES = 1_000_000


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stalled]:
    """Return clients that stall for a minute, begun before the tests beside which they do."""
    server = Server(tmp_path_factory.mktemp("stalled"), Options(workers=2, tls=True)).start()
    wire = Wire(server, server.admin_account)
    layer = os.urandom(MIB) * 64
    digest = wire.push_blob("admin/app", layer)
    place = wire.begin_upload("admin/app")
    push = bearer(wire, f"PATCH {place}", "repository:admin/app:pull,push")
    pull = bearer(wire, f"GET /v2/admin/app/blobs/{digest}", "repository:admin/app:pull")
    before = descriptors(server), resident(server)
    body = hold(server, f"{push}Content-Length: {BODY_BYTES}\r\n\r\n", b"abc")
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    stranger = hold(server, f"POST /token HTTP/1.1\r\nHost: a\r\n{form}", b"grant_type=")
    readers = [hold(server, f"{pull}\r\n", buffer_bytes=64 * 1024) for _ in range(16)]
    assert all(reader.recv(12) == b"HTTP/1.1 200" for reader in readers)
    assert resident(server) < before[1] + 256 * MIB, "16 readers of 64 MiB each"
    yield Stalled(server, wire, before[0], layer, digest, place, body, stranger, readers)
    for one in [body, stranger, *readers]:
        one.close()
    server.crash()


@pytest.mark.usefixtures("stalled")
def test_a_manifest_of_a_gibibyte(serve: Serve) -> None:
    """S02: chunked, so nobody knows its size; refused at 4 MiB, and memory is flat."""
    server = serve(Options(workers=1))
    wire = Wire(server, server.admin_account)
    wire.push_blob("admin/app", b"{}")
    put = bearer(wire, "PUT /v2/admin/app/manifests/x", "repository:admin/app:pull,push")
    before = resident(server)
    piece = b"100000\r\n" + b" " * MIB + b"\r\n"
    highest, sent = before, 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as flood:
        kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"
        flood.sendall(f"{put}{kind}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while sent < 1024:
                flood.sendall(piece)
                sent += 1
                highest = max(highest, resident(server))
        assert flood.recv(12) == b"HTTP/1.1 413"
    assert sent > 4
    assert highest < before + 64 * MIB


@contextlib.contextmanager
def few_descriptors(server: Server, number: int) -> Iterator[None]:
    """Leave its processes no more descriptors than this, for a while."""
    usual = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers(server)}
    try:
        for pid, (_, hard) in usual.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, hard))
        yield
    finally:
        for pid, limit in usual.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def outcome(
    connection: http.client.HTTPConnection, head: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """Return status and body of an answer; 0 when the connection ended instead."""
    start, _, rest = head.partition("\r\n")
    method, path, _ = start.split(" ")
    token = rest.partition("Authorization: ")[2].strip()
    try:
        connection.request(method, path, body=body, headers={"Authorization": token})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""


@pytest.mark.usefixtures("stalled")
def test_no_descriptors_left(serve: Serve) -> None:
    """T39: refused or put off, never a 500 nor a wrong byte; and afterwards all is as before."""
    server = serve(Options(workers=1))  # of two, the one that is full would close all newcomers
    wire = Wire(server, server.admin_account)
    layer = os.urandom(3 * MIB)
    digest = wire.push_blob("admin/app", layer)
    pull = bearer(wire, f"GET /v2/admin/app/blobs/{digest}", "repository:admin/app:pull")
    before = descriptors(server)
    known = [server.connect() for _ in range(8)]
    for connection in known:
        outcome(connection, "GET /v2/ HTTP/1.1\r\n")
    with few_descriptors(server, 64):
        crowd = Crowd(server, 300)
        wait_until("no descriptor is left", lambda: fullest(server) >= 60, seconds=8)
        answers: list[tuple[int, bytes]] = []
        for _ in range(10):  # one that the crowd left free may be enough for a round
            answers += [outcome(connection, pull) for connection in known]
            if any(status != 200 for status, _ in answers):
                break
        crowd.listen(15)
        crowd.close()
    assert {status for status, _ in answers} <= {0, 200, 503}
    assert 503 in {status for status, _ in answers}, "nobody needed a descriptor"
    assert all(body == layer for status, body in answers if status == 200)
    for connection in known:
        connection.close()
    wait_until("descriptors are free", lambda: descriptors(server) <= before + 8, seconds=60)
    assert wire.pull_blob("admin/app", digest) == layer
    wire.push_blob("admin/app", os.urandom(MIB))
    log = server.log.read_text()
    assert "request.failed" not in log
    assert "worker.died" not in log


def test_a_body_and_a_reader_that_stall(stalled: Stalled) -> None:
    """T83, over TLS: a stranger's body ends with 408, a login's upload may pause and goes on.

    Readers hold no more than a window, and are cut.
    """
    server, wire, body = stalled.server, stalled.wire, stalled.body
    rest = os.urandom(BODY_BYTES - 3)
    stalled.stranger.settimeout(60 + LATE_SECONDS)
    assert stalled.stranger.recv(12) == b"HTTP/1.1 408"
    wait_until(
        "readers are cut",
        lambda: descriptors(server) <= stalled.before + 8,
        seconds=60 + LATE_SECONDS,
        every=0.5,
    )
    body.settimeout(LATE_SECONDS)
    body.sendall(rest)
    assert body.recv(12) == b"HTTP/1.1 202", "a minute's pause is no fault of who is logged in"
    for one in [body, stalled.stranger, *stalled.readers]:
        one.close()
    wire.request("PATCH", stalled.place, b"def").expect(202)
    wire.finish_upload(stalled.place, sha256_of(b"abc" + rest + b"def")).expect(201)
    assert wire.pull_blob("admin/app", stalled.digest) == stalled.layer
