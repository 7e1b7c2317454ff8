"""A registry over two disks, as tests reach and break it."""

import asyncio
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from treescale.chunks.disk.syscalls import Disk
from treescale.http.connections.connection import ConnectionServer

Asking = Callable[..., Awaitable[bytes]]
"""Writes a request by hand: a blob's name, the method, more header lines."""


class CountingDisk(Disk):
    """Says how many bytes went which way. Files are trusted as written, and later, once `settled`.

    When `cold`, nothing of them is in the page cache.
    """

    def __init__(self) -> None:
        self.hashed = 0
        self.sent = 0
        self.read_in_parts = 0
        self.loaded = 0
        self.settled = False
        self.cold = False

    def stamp_ns(self) -> int:
        # However long a busy disk takes to write: what is not settled was written after this.
        return super().stamp_ns() + 10**9 if self.settled else 0

    def date(self, fd: int, ns: int) -> None:
        if self.settled:
            super().date(fd, ns)

    def read(self, fd: int, size: int) -> bytes:
        data = super().read(fd, size)
        self.hashed += len(data)
        return data

    def sendfile(self, to: int, fd: int, offset: int, size: int) -> int:
        sent = super().sendfile(to, fd, offset, size)
        self.sent += sent
        return sent

    def read_cached(self, fd: int, size: int, offset: int) -> bytes:
        if self.cold:
            raise BlockingIOError
        return super().read_cached(fd, size, offset)

    def read_ahead(self, fd: int, size: int, offset: int) -> None:
        super().read_ahead(fd, size, offset)
        self.loaded += 1  # and a byte is read, to wait for it

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        self.read_in_parts += len(data)
        return data


@dataclass
class Served:
    """A running registry over files, and how to reach and to break it."""

    port: int
    context: ssl.SSLContext | None
    connections: ConnectionServer
    disk: CountingDisk
    roots: list[Path]
    writers: list[StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def chunks(self) -> list[Path]:
        """Return every copy of every chunk."""
        return [file for root in self.roots for file in root.glob("chunks/*/*/*")]

    async def connect(self, receive_bytes: int | None = None) -> tuple[StreamReader, StreamWriter]:
        """Open a connection, one that takes little at once if so asked."""
        plain = socket.socket()
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)  # noqa: FBT003  the standard library's signature
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        host = "127.0.0.1" if self.context else None
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=self.context, server_hostname=host, limit=65536
        )
        self.writers.append(writer)
        return reader, writer
