"""A wire that fails on purpose: a TCP relay on 127.0.0.1 that a test delays, cuts, resets or bends.

It stands between a client and a server that know nothing of it. Offsets count the bytes of one
connection in one direction, from its beginning.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

RST_ON_CLOSE = b"\1\0\0\0\0\0\0\0"
"""struct linger: on, no time: closing resets the connection."""


@dataclass
class Faults:
    """What happens to the bytes of one direction."""

    held: asyncio.Event | None = None
    """While it is not set nothing passes: a cut wire, of which nobody is told."""
    reset_after: int | None = None
    """The connection is reset after so many bytes."""
    end_after: int | None = None
    """The connection is ended, in good order, after so many bytes."""
    flip_at: int | None = None
    """One bit of the byte at this place is turned."""
    delay_seconds: float = 0.0

    def hold(self) -> None:
        """Let nothing pass from now on."""
        self.held = asyncio.Event()

    def release(self) -> None:
        """Let everything pass again."""
        if self.held is not None:
            self.held.set()


@dataclass
class Relay:
    """The wire. What is set holds for connections that exist and those to come."""

    target: int
    port: int = 0
    asked: Faults = field(default_factory=Faults)
    answered: Faults = field(default_factory=Faults)
    connections: int = 0
    """How many were made, ever."""
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    """The client's ends of those there are."""
    _changes: asyncio.Condition = field(default_factory=asyncio.Condition)

    def reset_all(self) -> None:
        """Reset all connections, as when the process at the other end is killed."""
        for writer in list(self.open):
            _reset(writer)

    async def has_open(self, count: int) -> None:
        """Return when there are so many connections."""
        async with self._changes:
            await self._changes.wait_for(lambda: len(self.open) == count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be one connection until either end closes it."""
        self.connections += 1
        self.open.add(writer)
        async with self._changes:
            self._changes.notify_all()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
        else:
            await _first(_carry(reader, back, self.asked), _carry(there, writer, self.answered))
            back.close()
        writer.close()
        self.open.discard(writer)
        async with self._changes:
            self._changes.notify_all()


@asynccontextmanager
async def relay_to(port: int) -> AsyncIterator[Relay]:
    """Run a relay to the server on this port."""
    relay = Relay(port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for faults in (relay.asked, relay.answered):
            faults.release()
        relay.reset_all()
        await relay.has_open(0)


async def _first(*ways: Coroutine[None, None, None]) -> None:
    """Return when one of them has ended, whichever and however: then the connection has."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ended(way)) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _ended(way: Coroutine[None, None, None]) -> None:
    with suppress(ConnectionError):
        await way


async def _carry(reader: asyncio.StreamReader, to: asyncio.StreamWriter, faults: Faults) -> None:
    """Pass bytes on until there are no more, or a fault ends it."""
    passed = 0
    while data := await reader.read(65536):
        if faults.held is not None:
            await faults.held.wait()
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        if faults.flip_at is not None and passed <= faults.flip_at < passed + len(data):
            at = faults.flip_at - passed
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        for limit in (faults.reset_after, faults.end_after):
            if limit is not None and passed + len(data) > limit:
                to.write(data[: max(limit - passed, 0)])
                await to.drain()
                if limit == faults.reset_after:
                    _reset(to)
                return
        passed += len(data)
        to.write(data)
        await to.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    wire = writer.get_extra_info("socket")
    if wire.fileno() >= 0:  # else it has ended already
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Run a server that accepts connections and never answers; yields its port."""
    done = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        await done.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        done.set()
        server.close()


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
