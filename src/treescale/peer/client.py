"""A store of another server as a ChunkStore: what is asked over the wire, and what is believed.

Only signed answers count, and of chunks only bytes that hash to their name. No answer in time, or a
broken one, is Unreachable; nothing is tried again here (whoever has other copies does that), but
for one thing: a kept connection that the other end closed while it lay idle.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace, TracebackType
from typing import Final, Self

import aiohttp
import msgspec
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientTimeout,
    ServerDisconnectedError,
    TraceConfig,
)
from yarl import URL

from treescale.chunks.directory import DiskUsage
from treescale.chunks.disk import roomy_bytes_min, roomy_seconds_max
from treescale.chunks.placement import PARTITIONS
from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes, chunk_id_of
from treescale.clock import Clock, SystemClock
from treescale.errors import Corrupt, Failed, StoreFull, Unreachable
from treescale.peer.health import PeerHealth
from treescale.peer.signing import NO_BODY, SignedRequest, Signer, body_digest
from treescale.peer.wire import (
    ANSWER_BYTES_MAX,
    ANSWER_HEADER,
    REQUEST_HEADER,
    Action,
    Target,
    chunks_asked_max,
    partitions_listed_max,
    read_bits,
    read_error,
    read_ids,
    read_unsigned,
    small_bytes_max,
    write_partitions,
)
from treescale.peer.wires import ChunkWires, Refusal

read_buffer_bytes: Final = 256 * 1024
sent_at_once_bytes: Final = 256 * 1024
deadline_share: Final = 0.9
"""Of our patience, what the other server may use: then its word that it is late is here in time."""
tight_seconds_max: Final = 60.0
"""For so long a store that had no room to spare is asked for what is needed, and no more."""
hashed_here_bytes_max: Final = 16 * 1024
"""Hashing so little takes less time than asking a thread to."""
_NOT_SENT: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for another server, and with how many requests at once."""

    connect_seconds: float = 0.5
    read_seconds: float = 2.0
    """Without a byte of the answer, when something is read."""
    chunk_seconds: float = 30.0
    """For a whole chunk, however steadily it trickles."""
    write_seconds: float = 10.0
    """For a write, or a part of the list, as a whole."""
    idle_seconds: float = 30.0
    """For so long an idle connection is kept: less than the other end keeps it."""
    requests_max: int = 16


PATIENCE: Final = Patience()


class PeerChannel:
    """The connections to one other server; made in a running event loop, and a context manager.

    `url` is what that server advertises; with `socket_name` a Unix socket leads there. Raises
    Unreachable without touching the network while `health` says that the server is away, unless
    told to try `anyway`.
    """

    def __init__(
        self,
        signer: Signer,
        url: str,
        health: PeerHealth,
        *,
        tls: ssl.SSLContext | None = None,
        patience: Patience = PATIENCE,
        socket_name: str = "",
    ) -> None:
        self.patience = patience
        self.peer = signer.addressee
        self._signer = signer
        self._url = url.rstrip("/")
        self._health = health
        self._slots = asyncio.Semaphore(patience.requests_max)
        reuse = TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(
                socket_name, limit=0, keepalive_timeout=patience.idle_seconds
            )
            if socket_name
            else aiohttp.TCPConnector(
                limit=0, ssl=tls or True, keepalive_timeout=patience.idle_seconds
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=read_buffer_bytes,
            trace_configs=[reuse],
        )
        self._wires = ChunkWires(
            URL(self._url),
            tls,
            connect_seconds=patience.connect_seconds,
            idle_seconds=patience.idle_seconds,
        )
        self._session._retry_connection = False  # noqa: SLF001  it would ask twice, signed once

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._wires.__exit__(kind, error, trace)
        await self._session.close()

    async def ask(
        self, target: Target, seconds: float, body: Bytes = b"", *, anyway: bool = False
    ) -> bytes:
        """Ask for `target` and return the body of the answer, which is signed.

        `seconds` is how long it may take; a chunk, how long without progress. `anyway` is for
        what shall be tried whatever `health` says. Raises what the other server tells
        (ChunkUnknown, Corrupt, StoreFull, StoreUnusable), else Unreachable.
        """
        if not anyway:
            self._health.check()
        async with self._slots:
            if not anyway:
                self._health.admit()
            whole = self.patience.chunk_seconds if target.action is Action.GET else seconds
            try:
                async with asyncio.timeout(whole):
                    if target.action is Action.GET:
                        status, answer = await self._get(target, seconds)
                    else:
                        status, answer = await self._exchange(target, seconds, body)
            except (ClientError, ConnectionError, TimeoutError, Unreachable) as error:
                raise self._judged(error) from error
            except BaseException:
                self._health.given_up()
                raise
        if status == HTTPStatus.GATEWAY_TIMEOUT:
            self._health.failed(reset=False)
        else:
            self._health.answered()
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise read_error(self.peer, status, answer)
        return answer

    def _judged(self, error: Exception) -> Unreachable:
        """Tell what no answer says about the server; return what to tell the caller."""
        if isinstance(error, ClientConnectorError | Refusal):
            self._health.refused(str(error))
        else:
            broken = isinstance(error, ConnectionError | ClientOSError | ClientPayloadError)
            self._health.failed(reset=broken)
        if isinstance(error, Unreachable):
            return error
        return Unreachable(
            f"server {self.peer} did not answer: {str(error) or type(error).__name__}"
        )

    async def _get(self, target: Target, seconds: float) -> tuple[int, bytes]:
        """Ask for a chunk: its name tells whether the bytes are right, the signature who sent."""
        deadline = round(seconds * deadline_share * 1000)
        request = self._signer.sign(
            "GET", target.path, length=0, body=body_digest(b""), deadline_ms=deadline
        )
        header = f"{REQUEST_HEADER}: {request.header}"
        found = await self._wires.get(target.path, header, ANSWER_BYTES_MAX[Action.GET], seconds)
        digest = NO_BODY if found.status == HTTPStatus.OK else body_digest(found.body)
        if not request.is_answered_by(found.signature, found.status, len(found.body), digest):
            raise read_unsigned(self.peer, found.status, found.body)
        return found.status, found.body

    async def _exchange(self, target: Target, seconds: float, body: Bytes) -> tuple[int, bytes]:
        """Ask; once more when a connection that had lain idle turns out to be closed.

        The request was then as a rule not even read; if it was, doing it twice is doing it once.
        """
        on = SimpleNamespace(reused=False)
        try:
            return await self._ask_once(target, seconds, body, on)
        except (ServerDisconnectedError, ClientOSError) as error:
            if not on.reused or isinstance(error, ClientConnectorError):
                raise
        return await self._ask_once(target, seconds, body, on)

    async def _ask_once(
        self, target: Target, seconds: float, body: Bytes, on: SimpleNamespace
    ) -> tuple[int, bytes]:
        if self._session.closed:  # the server has left the cluster while somebody still asked
            raise Unreachable(f"server {self.peer} is no longer there")
        digest = NO_BODY if target.action is Action.PUT else body_digest(body)
        method, path = target.action.method, target.path
        deadline = round(seconds * deadline_share * 1000)
        request = self._signer.sign(
            method, path, length=len(body), body=digest, deadline_ms=deadline
        )
        headers = {REQUEST_HEADER: request.header}
        if body:
            headers["Content-Length"] = str(len(body))
        # Not `sock_read`: aiohttp 3.14 may leave its timer running on a connection that is kept,
        # and whoever has it next is told at once that it was silent for too long.
        async with (
            _Silence(seconds) as silence,
            self._session.request(
                method,
                URL(self._url + path, encoded=True),
                data=_pieces(body) if body else None,
                headers=headers,
                skip_auto_headers=_NOT_SENT,
                allow_redirects=False,
                timeout=ClientTimeout(sock_connect=self.patience.connect_seconds),
                trace_request_ctx=on,
            ) as response,
        ):
            # Left before its end, by an error or by whoever asked, its connection is closed.
            return response.status, await self._read(response, request, target.action, silence)

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        request: SignedRequest,
        action: Action,
        silence: "_Silence",
    ) -> bytes:
        """Return the body of a signed answer; raises Unreachable for any other."""
        status, length = response.status, response.content_length
        good = status == HTTPStatus.OK
        limit = ANSWER_BYTES_MAX.get(action, small_bytes_max) if good else small_bytes_max
        if length is None or length > limit:
            raise Unreachable(f"what answers at {self._url} is no server of ours")
        body = await silence.read(response.content, length)
        signature = response.headers.get(ANSWER_HEADER)
        if not request.is_answered_by(signature, status, length, body_digest(body)):
            raise read_unsigned(self.peer, status, body)
        return body


class _Silence:
    """A context manager: within it TimeoutError after so many seconds without a byte."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    async def read(self, content: aiohttp.StreamReader, length: int) -> bytes:
        """Return so many bytes; each that comes is another while to wait."""
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        while length:
            piece = await content.read(length)
            if not piece:
                raise asyncio.IncompleteReadError(b"".join(pieces), length)
            self._timeout.reschedule(loop.time() + self._seconds)
            length -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)


class PeerStore:
    """One store of another server; keeps every promise of ChunkStore, and may raise Unreachable."""

    def __init__(
        self,
        store_id: str,
        channel: PeerChannel,
        threads: Executor,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.store_id = store_id
        self._channel = channel
        self._patience = channel.patience
        self._threads = threads
        self._clock = clock or SystemClock()
        self._roomy_until = 0.0
        self._tight_until = 0.0

    async def reserve(self, size: int) -> None:
        """Return when `size` more bytes may be written; raises StoreFull or StoreUnusable.

        As of a disk here (see DiskStore), the answer counts for a moment when there is far more
        room: every upload asks, and each would cost a trip. To know that, far more is asked for.
        """
        now = self._clock.monotonic()
        small = size <= roomy_bytes_min // 16
        if small and now < self._roomy_until:
            return
        if small and now >= self._tight_until:
            try:
                await self._reserve(size + roomy_bytes_min)
            except StoreFull:
                self._tight_until = now + tight_seconds_max
            else:
                self._roomy_until = now + roomy_seconds_max
                return
        await self._reserve(size)

    async def _reserve(self, size: int) -> None:
        await self._ask(Action.RESERVE, self._patience.read_seconds, size=size)

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; durable there when it returns. See ChunkStore.

        A cancelled put may still finish there.
        """
        view = memoryview(data).cast("B")
        if len(view) > CHUNK_BYTES_MAX:
            raise Corrupt(f"bytes put as chunk {chunk.hex()} are not that chunk: too many")
        try:
            await self._ask(Action.PUT, self._patience.write_seconds, view, chunk=chunk)
        except Corrupt as error:
            if await self._name(view) != chunk:
                raise
            raise Unreachable(f"chunk {chunk.hex()} was damaged on its way: {error}") from error

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified here (R1).

        Bytes that are not the chunk's are Corrupt, and the other server is asked to look at its
        copy again (R2).
        """
        return await self._verified(
            chunk, await self._ask(Action.GET, self._patience.read_seconds, chunk=chunk)
        )

    async def insist(self, chunk: bytes, seconds: float) -> bytes:
        """Do as `get`, also while the server is away, and wait so long; see SparingStore."""
        data = await self._channel.ask(
            Target(Action.GET, self.store_id, chunk), seconds, anyway=True
        )
        return await self._verified(chunk, data)

    async def _verified(self, chunk: bytes, data: bytes) -> bytes:
        if await self._name(data) == chunk:
            return data
        raise Corrupt(
            f"what server {self._channel.peer} sent as chunk {chunk.hex()} is not that chunk; "
            + await self._reported(chunk)
        )

    async def verify(self, chunk: bytes) -> None:
        """Have the other server hash its copy; see VerifyingStore."""
        await self._ask(Action.VERIFY, self._patience.read_seconds, chunk=chunk)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is there."""
        found: list[bool] = []
        for start in range(0, len(chunks), chunks_asked_max):
            asked = chunks[start : start + chunks_asked_max]
            bits = await self._ask(Action.HAVE, self._patience.read_seconds, b"".join(asked))
            with self._understood():
                found += read_bits(bits, len(asked))
        return found

    async def delete(self, chunk: bytes) -> None:
        """Remove it there; raises ChunkUnknown."""
        await self._ask(Action.DELETE, self._patience.write_seconds, chunk=chunk)

    async def usage(self) -> DiskUsage:
        """Return how full the store is, and what is wrong with it."""
        found = await self._ask(Action.USAGE, self._patience.read_seconds)
        with self._understood():
            return msgspec.json.decode(found, type=DiskUsage)

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once; 1/256 of the store is asked for, and held, at a time."""
        wanted = sorted(range(PARTITIONS) if partitions is None else set(partitions))
        for start in range(0, len(wanted), partitions_listed_max):
            part = write_partitions(wanted[start : start + partitions_listed_max])
            ids = await self._ask(Action.LIST, self._patience.write_seconds, part)
            with self._understood():
                found = read_ids(ids)
            for chunk in found:
                yield chunk

    async def _ask(
        self,
        action: Action,
        seconds: float,
        body: Bytes = b"",
        *,
        chunk: bytes = b"",
        size: int = 0,
    ) -> bytes:
        return await self._channel.ask(Target(action, self.store_id, chunk, size), seconds, body)

    async def _reported(self, chunk: bytes) -> str:
        """Ask the other server to look at its copy; return what it says, for people."""
        try:
            await self.verify(chunk)
        except Failed as found:
            return str(found)
        return "its own copy is sound, so they were damaged on their way"

    async def _name(self, data: Bytes) -> bytes:
        """Return the name of these bytes; much is hashed in a thread."""
        if len(data) <= hashed_here_bytes_max:
            return chunk_id_of(data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, chunk_id_of, data)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Raise Unreachable for an answer that is signed, and still none to the question."""
        try:
            yield
        except (ValueError, msgspec.DecodeError) as error:
            raise Unreachable(f"server {self._channel.peer} speaks otherwise: {error}") from error


async def _note_reuse(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.reused = True


async def _pieces(body: Bytes) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), sent_at_once_bytes):
        yield view[start : start + sent_at_once_bytes]
