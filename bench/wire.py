"""The cheapest possible registry client: blocking sockets, no checks: the server is measured.

Pushes as dockerd does (POST, one PATCH without a length, PUT) and pulls by reading to nowhere.
"""

import base64
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

piece_bytes: Final = 1 << 20
timeout_seconds: Final = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """A registry to measure: its port on loopback, a repository, credentials if it wants any."""

    name: str
    port: int
    repository: str
    user: str = ""
    password: str = ""


@dataclass(slots=True)
class Answer:
    """A response's status and headers, and what of its body came with them."""

    status: int
    headers: dict[str, str]
    rest: bytes


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, target: Target, token: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", target.port), timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._buffer = bytearray(piece_bytes)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> Answer:
        """Send a request, its body in one piece, and read the answer's header."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._authorization}{headers}\r\n"
        self._socket.sendall(head.encode() + body)
        return self.header()

    def header(self) -> Answer:
        """Read an answer's header."""
        data = b""
        while b"\r\n\r\n" not in data:
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError("the server hung up")
            data += received
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        return Answer(int(status.split()[1]), headers, rest)

    def stream(self, pieces: Iterator[memoryview]) -> None:
        """Send a chunked body."""
        for piece in pieces:
            self._socket.sendall(b"%x\r\n" % len(piece))
            self._socket.sendall(piece)
            self._socket.sendall(b"\r\n")
        self._socket.sendall(b"0\r\n\r\n")

    def body(self, answer: Answer) -> bytes:
        """Read the answer's body, a small one."""
        data = answer.rest
        while len(data) < int(answer.headers["content-length"]):
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError(f"the body broke off after {len(data)} bytes")
            data += received
        return data

    def discard(self, answer: Answer) -> int:
        """Read the answer's body to nowhere; return its length in bytes."""
        wanted = int(answer.headers.get("content-length", "0"))
        received = len(answer.rest)
        while received < wanted:
            count = self._socket.recv_into(self._buffer)
            if count == 0:
                raise ConnectionError(f"the body broke off after {received} bytes")
            received += count
        return received


def token_for(target: Target) -> str:
    """Return a bearer token to push and pull with; "" for a registry without a login."""
    if not target.user:
        return ""
    basic = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
    scope = quote(f"repository:{target.repository}:pull,push")
    connection = Connection(target)
    answer = connection.ask("GET", f"/token?scope={scope}", f"Authorization: Basic {basic}\r\n")
    body = answer.rest
    while len(body) < int(answer.headers["content-length"]):
        body += connection._socket.recv(65536)  # noqa: SLF001  the same module
    connection.close()
    return str(json.loads(body)["token"])


def push(target: Target, token: str, data: bytes, digest: str) -> None:
    """Push a blob as dockerd does; raises unless it is acknowledged."""
    location = _expect(
        target, token, "POST", f"/v2/{target.repository}/blobs/uploads/", 202
    ).headers["location"]
    connection = Connection(target, token)
    path = _path(location)
    head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\n"
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    connection._socket.sendall(  # noqa: SLF001  the same module
        f"{head}{authorization}Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    view = memoryview(data)
    connection.stream(view[at : at + piece_bytes] for at in range(0, len(data), piece_bytes))
    answer = connection.header()
    connection.close()
    if answer.status != HTTPStatus.ACCEPTED:
        raise RuntimeError(f"{target.name}: PATCH answered {answer.status}")
    path = _path(answer.headers["location"])
    _expect(target, token, "PUT", f"{path}{'&' if '?' in path else '?'}digest={digest}", 201)


def pull(target: Target, token: str, digest: str) -> int:
    """Read a blob to nowhere; return its length in bytes."""
    connection = Connection(target, token)
    answer = connection.ask("GET", f"/v2/{target.repository}/blobs/{digest}")
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(f"{target.name}: GET answered {answer.status}")
    length = connection.discard(answer)
    connection.close()
    return length


def _expect(target: Target, token: str, method: str, path: str, status: int) -> Answer:
    connection = Connection(target, token)
    answer = connection.ask(method, path, "Content-Length: 0\r\n")
    connection.close()
    if answer.status != status:
        raise RuntimeError(f"{target.name}: {method} answered {answer.status}, not {status}")
    return answer


def _path(location: str) -> str:
    """Return the path of a Location, which the peer sends absolute."""
    return "/" + location.split("/", 3)[3] if "://" in location else location
