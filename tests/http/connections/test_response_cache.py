"""Answers are given again to the same bytes alone, in their turn, and while they hold."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, cast

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.examples import examples
from tests.tables import each_row
from treescale.http.body import RequestBody
from treescale.http.connections.connection import Connection
from treescale.http.connections.crowd import Stage
from treescale.http.connections.response_cache import (
    ASKED_MAX,
    BODY_BYTES_MAX,
    ENTRY_BYTES,
    HEAD_BYTES_MAX,
    CachedResponse,
    ResponseCache,
    is_candidate,
    place_of,
)
from treescale.http.request_log import RepeatedLine, RequestLine
from treescale.http.request_record import Repeatable, record_of, uncounted
from treescale.metrics.meters import Route
from treescale.metrics.traffic import TrafficCounters
from treescale.server.serving import new_connections

GET: Final = b"GET /v2/a HTTP/1.1\r\nHost: here\r\n\r\n"
HEAD: Final = b"HEAD /v2/a HTTP/1.1\r\nHost: here\r\n\r\n"
HERE: Final = place_of(("127.0.0.1", 1), nameless=False)
LINE: Final = RepeatedLine(RequestLine(Route.MANIFEST, "GET", "/v2/a", 200, 0, "", "", 0, 0, ""))
_DATE: Final = re.compile(rb"Date: [^\r]*\r\n")
_TURNS: Final = 100
_CALM_TURNS: Final = 4
"""Of the loop, until whatever can be answered was."""


@dataclass
class Content:
    """What answers depend on; what it was changes, and is no longer given."""

    version: int = 0
    made: int = 0
    """Answers that a handler has made."""
    counted: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request by the version there is."""
        self.made += 1
        await asyncio.sleep(0)
        body = await RequestBody(request, TrafficCounters()).read(1000)
        version = self.version
        record_of(request).repeatable = Repeatable(lambda: version == self.version, self._count)
        self._count()
        text = f"{request.method} {request.rel_url.raw_path} {version} {len(body)}"
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(text))})
        return web.Response(text=text)

    def _count(self) -> None:
        self.counted += 1


class Memory(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 4000)})
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        """Keep it."""
        assert not self.closed
        self.written += data

    def close(self) -> None:
        """Be closed."""
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        """Say whether it is."""
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Do nothing: a body comes with its head."""

    def pause_reading(self) -> None:
        """Do nothing: nobody sends so much."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def get_write_buffer_size(self) -> int:
        """Return how much waits: nothing."""
        return 0


@dataclass
class Talk:
    """One connection to a server of its own."""

    responses: ResponseCache | None
    content: Content = field(default_factory=Content)
    transport: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.server = new_connections(self.content.answer, tls=False)
        self.server.responses = self.responses
        self.connection = cast("Connection", self.server())
        self.connection.connection_made(self.transport)

    async def say(self, *pieces: bytes) -> None:
        """Send the pieces, and wait for what comes of each."""
        await self.settle()
        for piece in pieces:
            self.send(piece)
            await self.settle()

    async def settle(self) -> None:
        """Wait until all is answered that can be."""
        calm = 0
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            calm = calm + 1 if self.transport.closed or self.connection.idle else 0
            if calm == _CALM_TURNS:
                return

    def send(self, piece: bytes) -> None:
        """Send a piece."""
        if not self.transport.closed:
            self.connection.data_received(piece)

    @property
    def heard(self) -> bytes:
        """Return all answers, but for their dates."""
        return _DATE.sub(b"", bytes(self.transport.written))

    async def end(self) -> None:
        """Be gone."""
        self.connection.connection_lost(None)
        await asyncio.sleep(0)


async def test_the_third_time_no_handler_is_asked() -> None:
    talk = Talk(ResponseCache())
    await talk.say(*[GET, HEAD] * 4)
    answers = talk.heard.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert {*answers[::2]} == {answers[0]}
    assert {*answers[1::2]} == {answers[1]}
    assert (talk.content.made, talk.content.counted) == (4, 8)
    assert talk.connection._request_count == 8
    talk.content.version += 1
    await talk.say(GET)
    assert talk.heard.endswith(b"GET /v2/a 1 0")
    await talk.end()


async def test_each_answer_has_its_date_and_its_line() -> None:
    talk = Talk(ResponseCache())
    with capture_logs() as lines:
        await talk.say(GET, GET, GET)
    assert len(_DATE.findall(bytes(talk.transport.written))) == 3
    first, _, second = lines
    assert {**first, "request_id": 0, "seconds": 0} == {**second, "request_id": 0, "seconds": 0}
    assert first["request_id"] != second["request_id"]
    await talk.end()


async def test_a_connection_that_was_answered_is_kept_for_as_long_as_any() -> None:
    talk = Talk(ResponseCache())
    await talk.say(GET, GET)
    talk.connection._next_keepalive_close_time = 0.0
    before = asyncio.get_running_loop().time()
    await talk.say(GET)
    assert talk.content.made == 2
    assert talk.connection.since >= before
    await talk.end()


UPLOAD: Final = (
    b"PUT /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n"
)


@each_row("last", [GET, UPLOAD])
async def test_empty_lines_before_a_request_are_no_head_that_has_begun(last: bytes) -> None:
    """Else the connection would be ended for it, seconds after the answer."""
    talk = Talk(ResponseCache())
    await talk.say(GET, GET, b"\r\n\r\n")
    stages = [talk.connection.stage]
    await talk.say(last)
    assert talk.heard.count(b"200 OK") == 3
    assert [*stages, talk.connection.stage] == [Stage.ARRIVING, Stage.WAITING]
    await talk.end()


PART: Final = b"GET /v2/b HTTP/1.1\r\nX: "
"""What follows is the value of a field, and the head's end."""


@pytest.mark.parametrize("before", [b"", b"GET /v2/c HTTP/1.1\r\nHost: here\r\n\r\n"])
async def test_what_looks_like_a_request_and_is_part_of_one_is_no_request(before: bytes) -> None:
    """Else whoever has others send their words (a proxy) has them asking what they did not."""
    talks = [Talk(ResponseCache()), Talk(None)]
    for talk in talks:
        await talk.say(GET, GET, before + PART, GET)
        assert b"GET /v2/b 0 0" in talk.heard
        await talk.end()
    assert talks[0].heard == talks[1].heard


async def test_without_knowing_where_a_head_began_it_would_be_one() -> None:
    """The control of the test above."""
    talk = Talk(ResponseCache())
    await talk.say(GET, GET, GET + PART)
    talk.connection._clean = True
    await talk.say(GET)
    assert b"GET /v2/b" not in talk.heard
    await talk.end()


async def test_who_does_not_read_gets_no_more() -> None:
    """The usual way waits for the reader; and so does this."""
    talk = Talk(ResponseCache())
    await talk.say(GET, GET)
    before = talk.heard
    talk.connection.pause_writing()
    await talk.say(GET, GET, GET)
    assert len(talk.heard) <= len(before) * 3 / 2
    talk.connection.resume_writing()
    await talk.settle()
    assert talk.heard == before[: len(before) // 2] * 5
    await talk.end()


async def test_who_comes_through_a_proxy_has_no_answer_of_its_neighbour() -> None:
    responses = ResponseCache()
    first = Talk(responses)
    await first.say(GET, GET)
    other = Talk(responses)
    other.connection.come_from(("203.0.113.7", 1))
    nameless = Talk(responses)
    nameless.connection.nameless = True
    same = Talk(responses)
    for talk in (other, nameless, same):
        await talk.say(GET)
    assert [talk.content.made for talk in (other, nameless, same)] == [1, 1, 0]
    for talk in (first, other, nameless, same):
        await talk.end()


@each_row(
    "data",
    [
        GET + GET,
        GET[:-1],
        b"\r\n\r\n" + GET,
        GET + b"body",
        b"POST /v2/a HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET /token HTTP/1.1\r\nHost: here\r\n\r\n",
        b"GET http://here/v2/a HTTP/1.1\r\nHost: here\r\n\r\n",
        GET[:-4] + b"\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"",
    ],
)
def test_only_one_whole_head_may_be_kept(data: bytes) -> None:
    assert is_candidate(GET)
    assert is_candidate(HEAD)
    assert not is_candidate(data)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v2/a HTTP/1.0\r\nHost: here\r\n\r\n",
        b"GET /v2/a HTTP/1.0\r\nHost: here\r\nConnection: keep-alive\r\n\r\n",
        b"GET /v2/a HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
        b"GET /v2/a HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\n\r\n",
        b"GET /v2/a HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_what_says_something_of_its_connection_is_not_kept(request_: bytes) -> None:
    responses = ResponseCache()
    talk = Talk(responses)
    await talk.say(request_)
    again = Talk(responses)
    await again.say(request_)
    assert again.content.made == 1
    assert len(responses) == 0
    for each in (talk, again):
        await each.end()


async def test_a_head_whose_body_follows_is_not_kept() -> None:
    """What follows it would be taken for a request."""
    responses = ResponseCache()
    talk = Talk(responses)
    head = b"GET /v2/a HTTP/1.1\r\nHost: here\r\nContent-Length: 34\r\n\r\n"
    await talk.say()
    for _ in range(2):
        talk.send(head)
        talk.send(GET)
        await talk.settle()
    talk.connection._clean = True  # as if the body had ended as a head does
    talk.send(head)
    talk.send(GET)
    await talk.settle()
    assert talk.heard.count(b"GET /v2/a 0 34") == 3
    assert len(responses) == 0
    await talk.end()


def response(size: int, *, holds: bool = True) -> CachedResponse:
    """Return an answer of so many bytes."""
    return CachedResponse(b"", b"x" * size, LINE, Repeatable(lambda: holds, uncounted))


def test_so_many_bytes_are_kept_and_those_used_last() -> None:
    cost = len(b"1") + 100 + ENTRY_BYTES
    kept = ResponseCache(3 * cost)
    for name in b"1", b"2", b"3":
        kept.put(name, HERE, response(100))
    assert kept.find(b"1", HERE) is not None
    kept.put(b"4", HERE, response(100))
    assert [kept.find(name, HERE) is not None for name in (b"1", b"2", b"3", b"4")] == [
        *(True, False, True, True)
    ]
    kept.put(b"5", HERE, response(BODY_BYTES_MAX))
    assert len(kept) == 0, "it is larger than all"


def test_one_that_holds_no_more_is_forgotten() -> None:
    kept = ResponseCache()
    kept.put(b"1", HERE, response(1, holds=False))
    assert len(kept) == 1
    assert kept.find(b"1", HERE) is None
    assert len(kept) == 0
    kept.put(b"1", HERE, response(1))
    kept.put(b"1", HERE, response(2))
    assert (len(kept), kept._bytes) == (1, 1 + 2 + ENTRY_BYTES)


def test_one_that_is_closed_keeps_nothing_any_more() -> None:
    kept = ResponseCache()
    kept.put(b"1", HERE, response(1))
    kept.close()
    kept.put(b"2", HERE, response(1))
    assert len(kept) == 0
    assert kept.find(b"1", HERE) is None


def test_of_so_many_it_is_known_that_they_were_asked() -> None:
    kept = ResponseCache()
    assert [kept.is_asked_again(b"1", HERE) for _ in range(3)] == [False, True, True]
    assert not kept.is_asked_again(b"1", place_of(("127.0.0.2", 1), nameless=False))
    for number in range(ASKED_MAX):
        kept.is_asked_again(b"%d" % number, HERE)
    assert len(kept._asked) <= ASKED_MAX


REQUESTS: Final = (
    *(GET, HEAD) * 4,  # more often than others
    b"GET /v2/b HTTP/1.1\r\nHost: here\r\nX-Request-Id: told\r\n\r\n",
    b"\r\n" + GET,
    b"POST /v2/c HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
    b"POST /v2/c HTTP/1.1\r\nHost: here\r\nContent-Length: 34\r\n\r\n" + GET,
    b"GET /v2/a HTTP/1.1\r\nHost: here\r\nContent-Length: 34\r\n\r\n" + GET,
    b"POST /v2/c HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n22\r\n"
    + GET
    + b"\r\n0\r\n\r\n",
    PART + GET,
    b"GET /v2/a HTTP/1.0\r\nHost: here\r\nConnection: keep-alive\r\n\r\n",
    b"GET /v2/a HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
    b"GET /v2/a HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /v2/a HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\n\r\n",
    b"\x00",
)
assert len(GET) == 34


@dataclass(frozen=True)
class Step:
    """A piece that is sent."""

    piece: bytes
    settled: bool = True
    """Whether all that can be answered is, before the next."""
    changes: bool = False
    """Whether what answers say is another thing then."""


@st.composite
def steps(draw: st.DrawFn) -> Sequence[Step]:
    """Draw requests, one after the other, in any pieces."""
    sent = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8)))
    ends = [at.end() for at in re.finditer(rb"\r\n\r\n", sent)]
    where = st.sampled_from(ends) if ends else st.nothing()
    cuts = draw(st.sets(where | st.integers(0, len(sent)), max_size=8))
    if draw(st.booleans()):
        cuts |= {*ends}
    places = [0, *sorted(cuts - {0, len(sent)}), len(sent)]
    pieces = [sent[start:end] for start, end in pairwise(places)]
    settled = [draw(st.booleans()) for _ in pieces]
    return [
        Step(piece, calm, calm and draw(st.booleans()))
        for piece, calm in zip(pieces, settled, strict=True)
    ]


async def said(steps: Sequence[Step], responses: ResponseCache | None) -> tuple[object, ...]:
    """Return what a server answers to these steps, what it counts, and what it logs."""
    talk = Talk(responses)
    await talk.settle()
    with capture_logs() as lines:
        for step in steps:
            talk.send(step.piece)
            if step.settled:
                await talk.settle()
            talk.content.version += step.changes
        await talk.settle()
    told = [(line["method"], line["path"], line["status"], line["sent"]) for line in lines]
    closed = talk.transport.closed
    await talk.end()
    return talk.heard, told, closed, talk.content.counted


@example([Step(GET), Step(GET), Step(GET + PART), Step(GET)])
@example([Step(GET), Step(GET), Step(GET, changes=True), *[Step(GET, settled=False)] * 3])
@given(steps())
@settings(max_examples=examples(400), deadline=None)
def test_however_requests_arrive_they_are_answered_as_without(steps: Sequence[Step]) -> None:
    async def both() -> None:
        assert await said(steps, ResponseCache()) == await said(steps, None)

    asyncio.run(both())
