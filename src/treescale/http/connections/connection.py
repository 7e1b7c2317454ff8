"""The first byte of a connection: a TLS hello on the plain port is answered at once.

dockerd, skopeo, podman and crane try TLS first on any registry they may reach without it. A server
that waits for the rest of a request stalls each of their commands by ten seconds; one that answers
in plain HTTP is recognised ("server gave HTTP response to HTTPS client") and asked again plainly.

And the last one: a server that ends lets requests in flight finish, bodies that still arrive
included. (aiohttp's own shutdown throws away what a connection receives from then on.)

In between, one look a second at all connections cuts those that are stuck (http.limits): a timer
for each would cost every request. aiohttp itself only knows how long an idle connection is kept.
"""

import asyncio
import os
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import astuple
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, cast

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.web_protocol import RequestHandler

from treescale.errors import RequestInvalid
from treescale.http.bodies.socket_body import SocketBody
from treescale.http.call import add_common_headers
from treescale.http.connections.crowd import Bounds, Crowd, Guest, Stage, bounds, origin_of
from treescale.http.connections.progress import taken
from treescale.http.connections.response_cache import (
    HEAD_END,
    CachedResponse,
    Place,
    ResponseCache,
    cached,
    is_candidate,
    place_of,
)
from treescale.http.connections.upload_heads import UploadHeads
from treescale.http.errors import error_body, error_response
from treescale.http.limits import LIMITS, Limits
from treescale.http.request_log import RequestLog
from treescale.http.request_record import RequestRecord, begin_record, record_of, request_id
from treescale.log import get_logger
from treescale.metrics.meters import Meters, Route

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

DRAIN_LOOK_SECONDS: Final = 0.05
FIRST_REQUEST_SECONDS: Final = 0.5
"""Whoever connected just before the end has its request on the way, and is answered."""
UNLIMITED_FILES: Final = 1024 * 1024
SPOKEN: Final = (HttpVersion10, HttpVersion11)
TLS_HANDSHAKE: Final = 0x16
TEXT: Final = b"This port speaks plain HTTP; use http:// here\n"
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(TEXT), TEXT)
)

_TOO_SLOW: Final = error_body("UNSUPPORTED", "the request's head took too long to arrive")
HEAD_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Docker-Distribution-Api-Version: registry/2.0\r\nServer: TreeScale\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_TOO_SLOW), _TOO_SLOW)
)


class Connection(RequestHandler):
    """One HTTP/1.1 connection; what is no request at all is refused in the registry's words."""

    __slots__ = (
        "_acked",
        "_begun_at",
        "_candidate",
        "_clean",
        "_head_at",
        "_heads",
        "_limits",
        "_moved_at",
        "_place",
        "_responses",
        "_server",
        "_wire",
        "logged_in",
        "nameless",
        "on_gone",
        "origin",
        "unread",
    )

    def __init__(
        self, server: "ConnectionServer", *, limits: Limits, heads: UploadHeads, **options: Any
    ) -> None:
        """Serve `server`'s handler within `limits`; `heads` knows an upload when it comes."""
        super().__init__(server, **options)
        self._heads = heads
        self._clean = True  # the parser has seen whole requests alone
        self._limits = limits
        self._server = server
        self._responses = server.responses
        self._place: Place | None = None
        self._candidate = b""  # the head that is being answered, if that may be kept
        self._wire: asyncio.Transport | None = None
        self._begun_at = self._loop.time()
        self._head_at: float | None = None  # a head has begun, and not ended
        self._acked: bytes | None = None
        self._moved_at = 0.0
        self.logged_in = False
        self.origin: str | None = None
        self.nameless = False  # a proxy made it, and does not say for whom
        self.on_gone: Callable[[], None] | None = None  # hears that the client has gone
        self.unread: StreamReader | None = None  # a body that was answered before its end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep hold of the transport: aiohttp forgets one that it closes, sent or not."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop's are none by name
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever waits for more to send, or for the rest of a body; aiohttp tells neither."""
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()
        if self.unread is not None:
            self.unread.feed_eof()

    def data_received(self, data: bytes) -> None:
        """Be an ordinary connection, and remember when a head began."""
        free = self.idle or (self._request_count == 0 and not self._messages)
        begins, self._clean = self._clean, data.endswith(HEAD_END)
        if free and begins and not (self._upgraded or self._close or self._force_close):
            self._candidate = b""
            if self._take_over(data) if data[:1] == b"P" else self._answered_again(data):
                self._head_at = None
                return
        super().data_received(data)
        if not self.idle:
            self._head_at = None
        elif self._head_at is None:
            self._head_at = self._loop.time()

    def _answered_again(self, data: bytes) -> bool:
        """Answer a request as it was answered before; False when it is to go the usual way.

        Only where nothing else is under way: no answer may overtake another, nor be given to bytes
        that are part of something else.
        """
        if self._responses is None or self._paused or not self.idle or not is_candidate(data):
            return False
        begun = self._loop.time()
        place = self._place = self._place or place_of(self.peername, nameless=self.nameless)
        found = self._responses.find(data, place)
        if found is None:
            self._candidate = data if self._responses.is_asked_again(data, place) else b""
            return False
        assert self.transport is not None, "it is not closed"
        self.transport.write(found.rendered())
        self._note_answered(found, begun)
        return True

    def _note_answered(self, found: CachedResponse, begun: float) -> None:
        """Note what aiohttp, the handlers and the log note of a request."""
        now = self._loop.time()
        self._request_count += 1
        self._server.requests_count += 1
        self._next_keepalive_close_time = now + self._keepalive_timeout
        if found.logged.line.user and not self.logged_in:
            self._server.log_in(self)
        found.repeatable.count()
        assert isinstance(self.access_logger, RequestLog), "else nothing is kept"
        self.access_logger.log_again(found.logged, now - begun)

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Have it logged; and keep the answer, if it may be given again."""
        super().log_access(request, response, time)
        head, self._candidate = self._candidate, b""
        if not head or self._responses is None or not isinstance(self.access_logger, RequestLog):
            return
        answer = cached(request, response)
        if answer is not None and self._place is not None:
            self._responses.put(head, self._place, answer)

    def _take_over(self, data: bytes) -> bool:
        """Read the body of an upload that begins here ourselves; False when none does.

        What is known is known by the last bytes that aiohttp's parser was given: nothing waits to
        be answered and no body is open, so an empty line has ended all that it has read.
        """
        transport = self.transport
        upload = None if transport is None else self._heads.read(data)
        if upload is None or transport is None:
            return False
        body = SocketBody(self, transport, upload.decoder)
        self._request_count += 1
        self._messages.append((upload.message, cast("StreamReader", body)))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._clean = True  # of this it has seen nothing, and what follows may be here already
        body.begin(upload.rest)
        return True

    def close_if_stalled(self, now: float) -> str | None:
        """End the connection when it has used up its time, and return what it was stuck in."""
        assert self._wire is not None, "it was made"
        if self._reader_stuck(now):
            self._wire.abort()
            return "answer"
        if not self.idle:
            return None
        if self._head_at is not None and now - self._head_at > self._limits.head_seconds_max:
            self._wire.write(HEAD_TOO_SLOW)
            self.force_close()
            return "head"
        if self._request_count == 0 and now - self._begun_at > self._limits.silent_seconds_max:
            self.force_close()
            return "silence"
        return None

    def _reader_stuck(self, now: float) -> bool:
        """Return whether the client has for long acknowledged nothing of what waits for it."""
        assert self._wire is not None, "it was made"
        if self._wire.get_write_buffer_size() == 0:
            self._acked = None
            return False
        acked = taken(self._wire.get_extra_info("socket"))
        if acked != self._acked:
            self._acked = acked
            self._moved_at = now
        return now - self._moved_at > self._limits.answer_idle_seconds_max

    @property
    def stage(self) -> Stage:
        """Return what it does, as `crowd` wants to know it."""
        if not self.idle:
            return Stage.WORKING
        return Stage.WAITING if self._head_at is None else Stage.ARRIVING

    @property
    def route(self) -> Route:
        """Return what is being answered."""
        request = self._current_request
        return Route.OTHER if request is None else record_of(request).route

    @property
    def since(self) -> float:
        """Return when it last began to wait for a request."""
        return self._next_keepalive_close_time - self._keepalive_timeout

    def come_from(self, source: tuple[str, int]) -> None:
        """Note who is at the other end of the proxy that has made this connection."""
        self._cache["peername"] = source

    def end(self) -> None:
        """Close it for others' sake."""
        assert self._wire is not None, "it was made"
        if self.idle:
            self.force_close()
        else:
            self._wire.abort()

    @property
    def idle(self) -> bool:
        """Return whether it waits for a request of which nothing, or not even the head, is here."""
        return self._waiter is not None and not self._messages

    @property
    def request_expected(self) -> bool:
        """Return whether a request is on its way: its head has begun, or the client just came."""
        new = self._loop.time() - self._begun_at < FIRST_REQUEST_SECONDS
        return self._head_at is not None or (self._request_count == 0 and new)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp's parser refused; no error of ours gets here (see http.dispatch)."""
        del request, message  # they may repeat what was sent
        if exc is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            get_logger().error("connection.failed", exc_info=exc)
        reason = HTTPStatus(status).phrase.lower()
        body = error_body("UNSUPPORTED", f"this is not an HTTP request we can read: {reason}")
        response = web.Response(status=status, body=body, content_type="application/json")
        add_common_headers(response)
        response.force_close()
        return response


def check_framing(request: web.BaseRequest) -> None:
    """Raise RequestInvalid when somebody before us may have found another end of the body.

    aiohttp's parser refuses what is malformed. Left are versions it reads and nobody speaks on this
    port, and what RFC 9112 section 6.1 leaves to servers: codings below chunked, which we would
    store undecoded, and chunks in HTTP/1.0.
    """
    if request.version not in SPOKEN:
        raise RequestInvalid("this port speaks HTTP/1.1 and HTTP/1.0")
    codings = request.headers.getall("Transfer-Encoding", None)
    if codings is None:
        return
    if request.version < (1, 1):
        raise RequestInvalid("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise RequestInvalid("Transfer-Encoding: only chunked is understood")


def measured(connections: int) -> Bounds:
    """Return how many connections this process may have, of which it has so many now."""
    open_files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files_max == resource.RLIM_INFINITY:
        open_files_max = UNLIMITED_FILES
    others = len(os.listdir("/proc/self/fd")) - connections  # noqa: PTH208  ten times as fast
    return bounds(open_files_max, max(0, others))


class PlainConnection(Connection):
    """One plain HTTP/1.1 connection."""

    __slots__ = ("_begun",)

    def data_received(self, data: bytes) -> None:
        """Look at the first byte once, then be an ordinary connection."""
        if not getattr(self, "_begun", False):
            self._begun = True
            if data and data[0] == TLS_HANDSHAKE and self.transport is not None:
                self.transport.write(ANSWER)
                self.transport.close()
                return
        super().data_received(data)


class ConnectionServer(web.Server):
    """aiohttp's server, but with our connections; `tls` says that the transport is encrypted."""

    def __init__(
        self,
        handler: Handler,
        *,
        tls: bool,
        limits: Limits = LIMITS,
        below: Mapping[str, Handler] = MappingProxyType({}),
        is_proxy: Callable[[str], bool] = lambda _: False,
        connections_max: int | None = None,
        meters: Meters | None = None,
        **options: Any,
    ) -> None:
        """Pass `options` on to every connection; `meters` are told what is under way.

        `connections_max` is for a door that must leave room for others; None is what fits.

        `below` has what answers in the place of `handler` where a path begins so. `is_proxy` says
        of a peer's address whether others stand behind it.
        """
        super().__init__(
            self._handle,
            keepalive_timeout=limits.idle_seconds_max,
            lingering_time=limits.linger_seconds_max,
            **options,
        )
        self.limits = limits
        self.responses: ResponseCache | None = None
        """Answers that may be given again, if whoever serves wants that; for new connections."""
        self._heads = UploadHeads(self._loop, **options)
        self._tls = tls
        self._is_proxy = is_proxy
        self._handler = handler
        self._below = tuple(below.items())
        self._ending = False
        self._connections_max = connections_max
        self._crowd = Crowd(self._measured(0))
        self._crowded = False
        self._meters = meters
        self._in_flight: Counter[Route] = Counter()
        """As the meters were told."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return self.protocol(None, tls=self._tls)

    def protocol(
        self, source: tuple[str, int] | None, *, tls: bool, proxied: bool = False
    ) -> RequestHandler:
        """Return the protocol of a new connection; `source` is whom a proxy made it for."""
        kind = Connection if tls else PlainConnection
        connection = kind(
            self, loop=self._loop, limits=self.limits, heads=self._heads, **self._kwargs
        )
        if source is not None:
            connection.come_from(source)
        connection.nameless = proxied and source is None
        return connection

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Take in a connection, if there is room for it."""
        super().connection_made(handler, transport)
        assert isinstance(handler, Connection), "made by `protocol`"
        peer = handler.peername
        if isinstance(peer, tuple) and not self._is_proxy(peer[0]):
            handler.origin = origin_of(peer[0])
        if not self.enter(handler):
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        assert isinstance(handler, Connection), "made by `protocol`"
        self.leave(handler)

    def enter(self, guest: Guest) -> bool:
        """Count a connection, ending others for it if need be; False when there is no room."""
        entered = self._crowd.enter(guest, self._loop.time())
        self._tell_crowded()
        return entered

    def leave(self, guest: Guest) -> None:
        """Count it no more."""
        self._crowd.leave(guest)

    def _measured(self, connections: int) -> Bounds:
        found, most = measured(connections), self._connections_max
        if most is None:
            return found
        return Bounds(*(min(most, each) for each in astuple(found)))

    def make_room(self) -> None:
        """End some connections, as the system has no more to give."""
        self._crowd.bounds = self._measured(len(self._crowd))
        self._crowd.make_room(self._loop.time())
        self._tell_crowded()

    def log_in(self, connection: Connection) -> None:
        """Note that a request on the connection has proven a login."""
        if not connection.logged_in:
            self._crowd.logs_in(connection)
            connection.logged_in = True

    @property
    def look_seconds(self) -> float:
        """Return how often to `look`."""
        return self.limits.look_seconds

    async def look(self) -> None:
        """Look after the connections: background work of whoever serves."""
        self.cut_stuck(self._loop.time())
        self.count_in_flight()
        if len(self._crowd) * 4 > self._crowd.bounds.connections or self._crowded:
            self._crowd.bounds = self._measured(len(self._crowd))
        self._tell_crowded()

    def _tell_crowded(self) -> None:
        """Say when there are too many connections, and when that is over: a line each."""
        episode = self._crowd.episode
        if episode is None or self._crowded:
            over = self._crowd.is_over(self._loop.time()) if self._crowded else None
            if over is not None:
                self._crowded = False
                get_logger().info(
                    "connections.eased",
                    ended=over.ended,
                    refused=over.refused,
                    seconds=round(over.last - over.began),
                )
            return
        self._crowded = True
        limit = self._crowd.bounds
        get_logger().warning(
            "connections.crowded",
            connections=len(self._crowd),
            connections_limit=limit.connections,
            strangers_limit=limit.strangers,
            address_limit=limit.of_one_address,
            advice="the longest idle without a login are closed for new ones; see the limit on "
            "open files (LimitNOFILE), and what these connections are",
        )

    def cut_stuck(self, now: float) -> None:
        """Cut the connections that are stuck at this time of the loop's."""
        stuck: Counter[str] = Counter()
        for connection in list(self.connections):
            assert isinstance(connection, Connection), "made by __call__"
            why = connection.close_if_stalled(now)
            if why is not None:
                stuck[why] += 1
        if stuck:
            get_logger().info("connections.stuck", **stuck)

    def count_in_flight(self) -> None:
        """Tell the meters what is being answered, once it is known what that is."""
        if self._meters is None:
            return
        asked = [each.route for each in self.connections if isinstance(each, Connection)]
        found: Counter[Route] = Counter(route for route in asked if route is not Route.OTHER)
        for route in found | self._in_flight:
            self._meters.in_flight(route, found[route] - self._in_flight[route])
        self._in_flight = found

    async def drain(self, seconds: float) -> None:
        """End every connection: idle ones now, busy ones after their answer.

        A connection that is new, or on which a head has begun, is busy. What still runs after
        `seconds` is cut off.
        """
        self._ending = True
        if self.responses is not None:
            self.responses.close()
        try:
            async with asyncio.timeout(seconds):
                while self.connections:
                    self._close_idle()
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)
        except TimeoutError:
            get_logger().warning("connections.cut", connections=len(self.connections))
            await self.shutdown(DRAIN_LOOK_SECONDS)  # 0 would mean: without limit

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = begin_record(request, RequestRecord(self.limits))
        connection = request.protocol
        if isinstance(connection, Connection):
            record.nameless = connection.nameless
            if not connection.logged_in:
                record.log_in = partial(self.log_in, connection)
        try:
            check_framing(request)
        except RequestInvalid as odd:
            if request.version not in SPOKEN:  # aiohttp would answer as HTTP/0.9 or HTTP/2.0
                request._cache["version"] = HttpVersion10  # noqa: SLF001  nothing public sets it
            response: web.StreamResponse = error_response(odd, request_id(request))
            add_common_headers(response)
            response.force_close()
            return response
        path = request.raw_path
        handlers = (other for prefix, other in self._below if path.startswith(prefix))
        response = await next(handlers, self._handler)(request)
        content: object = request.content
        if isinstance(content, SocketBody):
            content.discard()  # aiohttp keeps hold of it until the next request
        elif isinstance(connection, Connection):
            connection.unread = None if request.content.is_eof() else request.content
        if (
            self._ending
            or response.status == HTTPStatus.REQUEST_TIMEOUT
            or "Upgrade" in request.headers  # aiohttp loses what follows one it does not know
            or not request.content.is_eof()  # the client must not take the rest for unsent
        ):
            response.force_close()
        return response

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            assert isinstance(connection, Connection), "made by __call__"
            if connection.idle and not connection.request_expected:
                connection.force_close()
