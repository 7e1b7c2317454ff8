"""What other servers may ask of the stores here: each request is authenticated first of all.

Handlers return an Answer or raise; one door turns what they raise into a signed error. Nothing is
queued: over the limit of requests at once, the answer is Busy, and the sender goes elsewhere. Pings
are always answered, or a busy server would look dead.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar, runtime_checkable

import msgspec
from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import structs

from treescale.chunks.disk.directory import StoreUsage
from treescale.chunks.disk.file import ChunkFile, ChunkFiles, FileSlice
from treescale.chunks.store import ChunkStore, KeepingStore, VerifyingStore
from treescale.clock import Clock
from treescale.errors import (
    BodyIncomplete,
    ChunkUnknown,
    RequestInvalid,
    StoreUnusable,
    TooLarge,
    TooMany,
    TreeScaleError,
    Unreachable,
    Unsupported,
)
from treescale.http.request_record import note_login
from treescale.log import get_logger
from treescale.metrics.traffic import Flow, TrafficCounters
from treescale.peer.protocol import (
    ANSWER_HEADER,
    BODY_BYTES_MAX,
    LIST_BYTES_MAX,
    REQUEST_HEADER,
    Action,
    PeerRequest,
    Pong,
    read_ids,
    read_partitions,
    read_request,
    write_bits,
    write_error,
)
from treescale.peer.signing import NO_BODY, PeerKeys, SignedRequestRead, authenticate, body_digest
from treescale.peer.wakes import READ_AT_ONCE_BYTES, wake_at

_Item = TypeVar("_Item")

REQUESTS_MAX: Final = 64
"""At once in this process; with chunks of 4 MiB at most, this bounds what they hold in memory."""
DEADLINE_SECONDS_MAX: Final = 60.0
WRITTEN_AT_ONCE_BYTES: Final = 64 * 1024
"""A body is given to the transport in pieces the processor's cache holds."""


class FileSender(Protocol):
    """What sends chunks' files uncopied on one connection; a context manager."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        ...

    async def send(self, piece: FileSlice) -> None:
        """Send it; raises Corrupt when the file is not what was verified, ConnectionError."""
        ...


SenderFor = Callable[[web.BaseRequest, web.StreamResponse], FileSender | None]
"""Returns what sends files on the request's connection; None when that is gone already."""


@runtime_checkable
class MeasuredStore(Protocol):
    """A store that can say how full it is."""

    async def usage(self) -> StoreUsage:
        """Return how full it is."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers. A chunk may come as a file; its name binds it, not the signature."""

    status: int = 200
    body: bytes = b""
    file: ChunkFile | None = None
    is_chunk: bool = False

    @property
    def length(self) -> int:
        """Return the body's length."""
        return len(self.body) if self.file is None else self.file.size

    @property
    def digest(self) -> str:
        """Return what the signature binds of the body."""
        return NO_BODY if self.is_chunk else body_digest(self.body)


@dataclass(slots=True)
class _Call:
    """A request: who signed it, once that is known, and what began to leave as its answer."""

    request: web.BaseRequest
    authentic: SignedRequestRead | None = None
    begun: web.StreamResponse | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """What a server has for others: who it is, its stores, and what it remembers.

    `tell` answers what they ask of its memory; see `cache.exchange`.
    """

    pong: Pong
    stores: Mapping[str, ChunkStore]
    tell: Callable[[bytes], Awaitable[bytes]]
    traffic: TrafficCounters
    walk_rate: Callable[[], int] = lambda: 0
    """Says how many bytes a second a walk may move now; 0 is no limit."""


def span_of(request: web.BaseRequest) -> str:
    """Return what a span is called that answers it."""
    try:
        return f"peer {read_request(request.method, request.raw_path).action.name.lower()}"
    except TreeScaleError:
        return "peer"


class PeerServer:
    """Answers the requests below /peer/v1/ of other servers.

    Chunks that this process verified lately leave as files, by way of what `sender_for` returns.
    """

    def __init__(
        self,
        host: Host,
        keys: Callable[[], PeerKeys],
        clock: Clock,
        sender_for: SenderFor,
        *,
        limit: int = REQUESTS_MAX,
    ) -> None:
        self._host = host
        self._server = host.pong.server
        self._keys = keys
        self._clock = clock
        self._sender_for = sender_for
        self._limit = limit
        self._running = 0
        self._log = get_logger()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        call = _Call(request)
        try:
            response = await self._answer(call)
        except Exception as error:  # noqa: BLE001  this is the one door
            return self._refuse(call, error)
        note_login(request)  # it was signed
        return response

    async def _answer(self, call: _Call) -> web.StreamResponse:
        authentic = call.authentic = self._authenticate(call.request)
        authentic.check_meant(self._server, self._clock.now())
        target = read_request(call.request.method, call.request.raw_path)
        if target.action is Action.PING:
            pong = structs.replace(self._host.pong, walk_bytes_per_second=self._host.walk_rate())
            return _whole(call, Answer(body=msgspec.json.encode(pong)))
        if self._running >= self._limit:
            raise TooMany(f"server {self._server} answers {self._limit} requests already")
        self._running += 1
        try:
            answer = await self._answer_in_time(call.request, target, authentic)
            if target.action is Action.PUT:
                self._host.traffic.count(Flow.FROM_SERVERS, call.request.content_length or 0)
            response = await self._send(call, answer)
            if answer.is_chunk:
                self._host.traffic.count(Flow.TO_SERVERS, answer.length)
            return response
        finally:
            self._running -= 1

    def _authenticate(self, request: web.BaseRequest) -> SignedRequestRead:
        if "Transfer-Encoding" in request.headers or "Expect" in request.headers:
            raise RequestInvalid("send the body at once, with its Content-Length")
        signatures = request.headers.getall(REQUEST_HEADER, [])
        return authenticate(
            self._keys(),
            request.method,
            request.raw_path,
            request.content_length or 0,
            signatures[0] if len(signatures) == 1 else None,
        )

    async def _answer_in_time(
        self, request: web.BaseRequest, target: PeerRequest, authentic: SignedRequestRead
    ) -> Answer:
        """Do what is asked before the sender stops waiting; raises Unreachable when too late."""
        seconds = min(authentic.deadline_ms / 1000, DEADLINE_SECONDS_MAX)
        try:
            async with asyncio.timeout(seconds):
                if target.action is Action.KNOWN:
                    return Answer(
                        body=await self._host.tell(await _body(request, target, authentic))
                    )
                store = self._store(target)
                if target.action is Action.PUT:
                    await store.check_space(_length(request, target))  # before it is read (N2)
                body = await _body(request, target, authentic)
                return await _HANDLERS[target.action](store, target, body)
        except TimeoutError:
            raise Unreachable(f"not done within the {seconds:g} s given") from None

    def _store(self, target: PeerRequest) -> ChunkStore:
        store = self._host.stores.get(target.store)
        if store is None:
            raise StoreUnusable(f"server {self._server} has no store {target.store}")
        return store

    async def _send(self, call: _Call, answer: Answer) -> web.StreamResponse:
        """Send an answer; a chunk piece by piece, or as its file."""
        if not answer.is_chunk:
            return _whole(call, answer)
        response = web.StreamResponse(status=answer.status, headers=_signed(call, answer))
        response.content_length = answer.length
        call.begun = response
        await response.prepare(call.request)
        if answer.file is not None:
            await self._send_file(call, response, answer.file)
        view = memoryview(answer.body)
        for start in range(0, len(view), WRITTEN_AT_ONCE_BYTES):
            await response.write(view[start : start + WRITTEN_AT_ONCE_BYTES])
        await response.write_eof()
        return response

    async def _send_file(self, call: _Call, response: web.StreamResponse, file: ChunkFile) -> None:
        sender = self._sender_for(call.request, response)
        if sender is None:
            raise ConnectionResetError("the other server has gone")
        with sender, closing(file):
            await sender.send(FileSlice(file, 0, file.size))

    def _refuse(self, call: _Call, error: Exception) -> web.StreamResponse:
        """Return the answer to an exception; cut the connection when a body has already begun."""
        who = call.authentic.sender if call.authentic else ""
        if call.begun is not None:
            self._log.info("peer.cut", peer=who, error=repr(error))
            if call.request.transport is not None:
                call.request.transport.abort()
            return call.begun
        if not isinstance(error, TreeScaleError):
            self._log.error("peer.failed", peer=who, exc_info=error)
        elif not isinstance(error, ChunkUnknown):
            self._log.warning("peer.refused", peer=who, error=str(error))
        status, body = write_error(error)
        return _whole(call, Answer(status, body))


def _signed(call: _Call, answer: Answer) -> dict[str, str]:
    """Return the headers of an answer: a stranger's request gets no signature."""
    if call.authentic is None:
        return {}
    signature = call.authentic.sign_answer(answer.status, answer.length, answer.digest)
    return {ANSWER_HEADER: signature}


def _whole(call: _Call, answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=_signed(call, answer))


def _length(request: web.BaseRequest, target: PeerRequest) -> int:
    """Return how long the body is; raises TooLarge."""
    length, limit = request.content_length or 0, BODY_BYTES_MAX.get(target.action, 0)
    if length > limit:
        raise TooLarge(f"this body may have at most {limit} bytes, not {length}")
    return length


async def _body(
    request: web.BaseRequest, target: PeerRequest, authentic: SignedRequestRead
) -> bytes:
    """Return the request's body, as it was signed; raises TooLarge, BodyIncomplete."""
    length = _length(request, target)
    try:
        body = await _received(request, length)
    except (EOFError, ConnectionError, ClientError, HttpProcessingError) as error:
        raise BodyIncomplete(f"the body ended before its {length} bytes") from error
    if target.action is not Action.PUT and body_digest(body) != authentic.body:
        raise RequestInvalid("the body is not the one that was signed")
    return body


async def _received(request: web.BaseRequest, length: int) -> bytes:
    """Return so many bytes of the body; raises EOFError when it ends before."""
    content, pieces, wakes_at = request.content, list[bytes](), 1
    missing = length
    try:
        while missing:
            to_come = max(1, length - content.total_bytes)
            wanted = min(to_come, READ_AT_ONCE_BYTES)
            wakes_at = _woken_at(request, wakes_at, wanted)
            piece = await content.readany()
            if not piece:
                raise EOFError
            pieces.append(piece)
            missing -= len(piece)
    finally:
        _woken_at(request, wakes_at, 1)
    return b"".join(pieces)


def _woken_at(request: web.BaseRequest, before: int, count: int) -> int:
    """Change what wakes the loop for this connection, where it can be; return what does now."""
    transport = request.transport
    if count == before or transport is None or transport.is_closing():
        return before
    return count if wake_at(transport, count) else before


async def _put(store: ChunkStore, target: PeerRequest, body: bytes) -> Answer:
    await store.put(target.chunk, body)
    return Answer(201)


async def _get(store: ChunkStore, target: PeerRequest, _body: bytes) -> Answer:
    if not isinstance(store, ChunkFiles):
        return Answer(body=await store.get(target.chunk), is_chunk=True)
    found = store.open_if_verified(target.chunk) or await store.open_verified(target.chunk)
    if isinstance(found, ChunkFile):
        return Answer(file=found, is_chunk=True)
    return Answer(body=found, is_chunk=True)


async def _verify(store: ChunkStore, target: PeerRequest, _body: bytes) -> Answer:
    if isinstance(store, VerifyingStore):
        await store.verify(target.chunk)
    else:
        await store.get(target.chunk)
    return Answer()


async def _have(store: ChunkStore, _target: PeerRequest, body: bytes) -> Answer:
    return Answer(body=write_bits(await store.have(_read(read_ids, body))))


async def _keep(store: ChunkStore, _target: PeerRequest, body: bytes) -> Answer:
    if not isinstance(store, KeepingStore):
        raise Unsupported("this store cannot keep a copy anew")
    return Answer(body=write_bits(await store.keep(_read(read_ids, body))))


async def _list(store: ChunkStore, _target: PeerRequest, body: bytes) -> Answer:
    found = bytearray()
    async for chunk in store.list(_read(read_partitions, body)):
        found += chunk
        if len(found) > LIST_BYTES_MAX:
            raise TooLarge("too many chunks for one answer; ask for fewer partitions")
    return Answer(body=bytes(found))


async def _reserve(store: ChunkStore, target: PeerRequest, _body: bytes) -> Answer:
    await store.check_space(target.size)
    return Answer()


async def _usage(store: ChunkStore, _target: PeerRequest, _body: bytes) -> Answer:
    if not isinstance(store, MeasuredStore):
        raise Unsupported("this store cannot say how full it is")
    return Answer(body=msgspec.json.encode(await store.usage()))


def _read(read: Callable[[bytes], list[_Item]], body: bytes) -> list[_Item]:
    try:
        return read(body)
    except ValueError as error:
        raise RequestInvalid(str(error)) from error


_HANDLERS: Final[Mapping[Action, Callable[[ChunkStore, PeerRequest, bytes], Awaitable[Answer]]]] = {
    Action.USAGE: _usage,
    Action.RESERVE: _reserve,
    Action.HAVE: _have,
    Action.KEEP: _keep,
    Action.LIST: _list,
    Action.PUT: _put,
    Action.GET: _get,
    Action.VERIFY: _verify,
}
"""Everything but the ping and what is known, which ask no store."""
