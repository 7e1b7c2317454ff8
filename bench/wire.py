"""The cheapest possible registry client: blocking sockets, few checks: the server is measured.

Pushes as dockerd does (HEAD, POST, one chunked PATCH in pieces of 32 KiB, PUT) on one keep-alive
connection, and pulls by reading to nowhere, the length checked.
"""

import base64
import hashlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

PIECE_BYTES: Final = 32 * 1024
"""What dockerd, io.Copy in Go, puts into one chunk of a chunked body."""
BUFFER_BYTES: Final = 1 << 20
TIMEOUT_SECONDS: Final = 300.0
EMPTY: Final = "Content-Length: 0\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A registry to measure: where it listens, a repository, credentials if it wants any."""

    name: str
    port: int
    repository: str
    user: str = ""
    password: str = ""
    certificate: Path | None = None
    """What to trust; None for plain HTTP."""
    pid: int = 0
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        """Return host and port, as they stand before a repository's name."""
        return f"{self.host}:{self.port}"


@dataclass(slots=True)
class Answer:
    """A response's status and headers, and what of its body came with them."""

    status: int
    headers: dict[str, str]
    rest: bytes


class Connection:
    """One HTTP/1.1 connection, kept open."""

    def __init__(self, target: Target, token: str = "") -> None:
        self._target = target
        plain = socket.create_connection((target.host, target.port), TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if target.certificate is None else _secured(plain, target.certificate)
        self._authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._buffer = bytearray(BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def request(self, method: str, path: str, headers: str = "") -> bytes:
        """Return a request's header, ready to be sent."""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._authorization}{headers}\r\n"
        ).encode()

    def ask(
        self, method: str, path: str, headers: str = "", body: bytes | bytearray = b""
    ) -> Answer:
        """Send a request, its body in one piece, and read the answer's header."""
        self.socket.sendall(self.request(method, path, headers) + body)
        return self.header()

    def expect(
        self,
        status: int,
        method: str,
        path: str,
        headers: str = EMPTY,
        body: bytes | bytearray = b"",
    ) -> Answer:
        """Ask and read the whole answer; raises RuntimeError unless it has the status."""
        self.socket.sendall(self.request(method, path, headers) + body)
        return self.answered(status, method, path)

    def answered(self, status: int, method: str, path: str) -> Answer:
        """Read the whole answer to what was sent; raises RuntimeError unless it has the status."""
        answer = self.header()
        if method != "HEAD":
            self.discard(answer)
        if answer.status != status:
            raise RuntimeError(
                f"{self._target.name}: {method} {path} answered {answer.status}, not {status}: "
                f"{answer.rest[:500]!r}"
            )
        return answer

    def header(self) -> Answer:
        """Read an answer's header."""
        data = b""
        while b"\r\n\r\n" not in data:
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError(f"{self._target.name} hung up")
            data += received
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        return Answer(int(status.split(" ", 2)[1]), headers, rest)

    def body(self, answer: Answer) -> bytes:
        """Read the answer's body, a small one."""
        data = answer.rest
        while len(data) < int(answer.headers["content-length"]):
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError(f"the body broke off after {len(data)} bytes")
            data += received
        return data

    def discard(self, answer: Answer) -> int:
        """Read the answer's body to nowhere; return its length in bytes."""
        return sum(map(len, self.pieces(answer, int(answer.headers.get("content-length", "0")))))

    def pieces(self, answer: Answer, wanted: int) -> Iterator[memoryview]:
        """Yield the first so many bytes of the answer's body; each piece is over at the next."""
        start = memoryview(answer.rest)[:wanted]
        left = wanted - len(start)
        yield start
        view = memoryview(self._buffer)
        while left:
            count = self.socket.recv_into(view[: min(left, len(view))])
            if count == 0:
                raise ConnectionError(f"the body broke off {left} bytes before its end")
            yield view[:count]
            left -= count


def token_for(target: Target) -> str:
    """Return a bearer token to push and pull with; "" for a registry without a login."""
    if not target.user:
        return ""
    basic = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
    scope = quote(f"repository:{target.repository}:pull,push")
    with Connection(target) as connection:
        path = f"/token?scope={scope}"
        answer = connection.ask("GET", path, f"Authorization: Basic {basic}\r\n")
        return str(json.loads(connection.body(answer))["token"])


def sha256(data: bytes) -> str:
    """Return the bytes' digest as the registry names it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def framed(data: bytes | bytearray) -> bytes:
    """Return the data as a chunked body."""
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    for at in range(0, len(data), PIECE_BYTES):
        piece = view[at : at + PIECE_BYTES]
        pieces += (b"%x\r\n" % len(piece), piece, b"\r\n")
    return b"".join([*pieces, b"0\r\n\r\n"])


def framed_places(size: int) -> Iterator[slice]:
    """Yield where `framed` puts so many bytes, piece by piece."""
    at = 0
    for begin in range(0, size, PIECE_BYTES):
        length = min(PIECE_BYTES, size - begin)
        at += len(b"%x\r\n" % length)
        yield slice(at, at + length)
        at += length + len(b"\r\n")


def push(connection: Connection, target: Target, digest: str, chunked: bytes | bytearray) -> None:
    """Push a blob the registry lacks, its body framed beforehand; raises unless acknowledged."""
    blobs = f"/v2/{target.repository}/blobs"
    connection.expect(404, "HEAD", f"{blobs}/{digest}", "")
    begun = connection.expect(202, "POST", f"{blobs}/uploads/")
    path = path_of(begun.headers["location"])
    chunks = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
    if len(chunked) > PIECE_BYTES:
        connection.socket.sendall(connection.request("PATCH", path, chunks))
        connection.socket.sendall(chunked)
        sent = connection.header()
    else:
        sent = connection.expect(202, "PATCH", path, chunks, chunked)
    connection.expect(201, "PUT", with_digest(path_of(sent.headers["location"]), digest))


def push_whole(connection: Connection, target: Target, digest: str, data: bytearray) -> None:
    """Push a blob the registry lacks as containerd does, by one PUT; raises unless acknowledged."""
    blobs = f"/v2/{target.repository}/blobs"
    connection.expect(404, "HEAD", f"{blobs}/{digest}", "")
    begun = connection.expect(202, "POST", f"{blobs}/uploads/")
    path = with_digest(path_of(begun.headers["location"]), digest)
    headers = f"Content-Type: application/octet-stream\r\nContent-Length: {len(data)}\r\n"
    connection.socket.sendall(connection.request("PUT", path, headers))
    connection.socket.sendall(data)
    connection.answered(201, "PUT", path)


def pull(target: Target, token: str, digest: str, size: int) -> None:
    """Read a blob to nowhere on a connection of its own; raises unless it has the length."""
    with Connection(target, token) as connection:
        path = f"/v2/{target.repository}/blobs/{digest}"
        answer = connection.ask("GET", path)
        length = connection.discard(answer)
    if answer.status != 200 or length != size:  # noqa: PLR2004  HTTP's OK
        raise RuntimeError(f"{target.name}: GET answered {answer.status}, {length} bytes")


def read_verified(
    target: Target, token: str, digest: str, part: slice, sha256: str, headers: str = ""
) -> None:
    """Read bytes of a blob on a connection of its own and hang up; raises unless they hash so.

    Asks for the whole blob, or from the part's start to the blob's end when that is not 0, as
    clients that read in parallel do.
    """
    ranged = f"Range: bytes={part.start}-\r\n" if part.start else ""
    hasher = hashlib.sha256()
    with Connection(target, token) as connection:
        path = f"/v2/{target.repository}/blobs/{digest}"
        answer = connection.ask("GET", path, ranged + headers)
        if answer.status != (206 if ranged else 200):
            raise RuntimeError(f"{target.name}: GET answered {answer.status}")
        for piece in connection.pieces(answer, part.stop - part.start):
            hasher.update(piece)
    if hasher.hexdigest() != sha256:
        raise RuntimeError(f"{target.name}: the bytes read from {part.start} on are wrong")


def with_digest(path: str, digest: str) -> str:
    """Return the upload's path with what ends it."""
    return f"{path}{'&' if '?' in path else '?'}digest={digest}"


def path_of(location: str) -> str:
    """Return the path of a Location, which the peer sends absolute."""
    return "/" + location.split("/", 3)[3] if "://" in location else location


def _secured(plain: socket.socket, certificate: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(certificate))
    return context.wrap_socket(plain, server_hostname="localhost")
