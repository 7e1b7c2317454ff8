"""Requests and answers written byte by byte: what no client or server of ours would send."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec

from tests.peer.conftest import KEYS
from treescale.peer.protocol import ANSWER_HEADER, REQUEST_HEADER
from treescale.peer.signing import (
    NO_BODY,
    PeerKeys,
    SignedRequest,
    Signer,
    authenticate,
    body_digest,
)

NOW = 1_700_000_000.0
"""What the clock of the tests says at first."""
HEAD = re.compile(rb"(?P<method>[A-Z]+) (?P<path>[^ ]+) HTTP/1\.1\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
SIGNED = re.compile(rb"\r\n" + REQUEST_HEADER.encode() + rb": *([^\r]+)\r\n", re.IGNORECASE)

Serve = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[[bytes], bytes]
"""Takes a request's head and returns all that is answered."""


@dataclass(frozen=True)
class Raw:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """Return the error's name."""
        return str(msgspec.json.decode(self.body)["error"])

    @property
    def message(self) -> str:
        """Return what it tells people."""
        return str(msgspec.json.decode(self.body)["message"])

    def answers(self, request: SignedRequest) -> bool:
        """Say whether it is signed as the answer to this request."""
        digest = body_digest(self.body)
        header = self.headers.get(ANSWER_HEADER.lower())
        return request.is_answered_by(header, self.status, len(self.body), digest)


@dataclass(frozen=True)
class Asker:
    """Signs as server a, or as anybody else."""

    keys: PeerKeys = KEYS
    sender: str = "a"
    addressee: str = "b"
    now: float = NOW
    deadline_ms: int = 5000

    def sign(
        self, method: str, path: str, body: bytes = b"", *, length: int | None = None
    ) -> SignedRequest:
        """Sign a request, whose length may be another than its body's."""
        signer = Signer(
            self.sender, self.addressee, lambda: self.keys, lambda: self.now, lambda: "0" * 32
        )
        return signer.sign(
            method,
            path,
            length=len(body) if length is None else length,
            body=NO_BODY if method == "PUT" else body_digest(body),
            deadline_ms=self.deadline_ms,
        )


def written(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    header: str | None,
    length: int | None = None,
    more: str = "",
) -> bytes:
    """Return a request as it is sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: b"]
    if header is not None:
        lines.append(f"{REQUEST_HEADER}: {header}")
    if body or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    head = "\r\n".join(lines) + "\r\n" + more + "\r\n"
    return head.encode(errors="surrogateescape") + body


async def answer_to(port: int, request: bytes, *, end: bool = False) -> Raw:
    """Send bytes and return the answer; with `end`, nothing more is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if end:
        writer.write_eof()
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
    finally:
        writer.transport.abort()
    return Raw(int(first.split()[1]), headers, body)


def signed(status: int, body: bytes) -> Answer:
    """Answer so, with the signature of somebody who has the key."""

    def answer(head: bytes) -> bytes:
        line, length, header = HEAD.match(head), LENGTH.search(head), SIGNED.search(head)
        assert line is not None
        assert header is not None
        request = authenticate(
            KEYS,
            line["method"].decode(),
            line["path"].decode(),
            int(length[1]) if length else 0,
            header[1].decode(),
        )
        digest = body_digest(body)
        if line["method"] == b"GET" and b"/chunks/" in line["path"] and status == 200:
            digest = "-"
        mac = request.sign_answer(status, len(body), digest)
        return (
            f"HTTP/1.1 {status} So\r\nContent-Length: {len(body)}\r\n{ANSWER_HEADER}: {mac}\r\n\r\n"
        ).encode() + body

    return answer


@asynccontextmanager
async def listening(
    serve: Serve, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Run a server that does so with each connection, counted from 1; yields its port."""
    serving: list[asyncio.Task[object] | None] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(len(serving), reader, writer)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)  # what is just being accepted
        for task in serving:
            assert task is not None
            task.cancel()
            await asyncio.wait([task])
        await asyncio.sleep(0.01)  # what is just being closed
