"""Where one request ends and the next begins: bytes that servers and proxies read differently.

Each case is sent with a marker request behind it on the same connection (T91). Either the case is
answered with a 4xx and the connection ends with the marker unread, or both are answered, once each.
No request that hides in another's head or body is ever answered.
"""

import asyncio
import json
import re
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.api.client import Client
from tests.tables import each_row
from treescale.http.connections import connection

SECONDS: Final = 20
MARKER: Final = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HIDDEN: Final = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
FORM: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"
FIVE: Final = b"5\r\nabcde\r\n0\r\n\r\n"
LONG: Final = b"a" * 64 * 1024


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """Return a request whose body the server reads; `abcde` is no form it takes: 400."""
    return b"POST /token HTTP/%b\r\nHost: a\r\n%b%b\r\n%b" % (version, FORM, headers, body)


def get(headers: bytes = b"", *, target: bytes = b"/v2/", version: bytes = b"1.1") -> bytes:
    """Return a request without credentials: 401."""
    return b"GET %b HTTP/%b\r\nHost: a\r\n%b\r\n" % (target, version, headers)


REFUSED: Final = {
    "CL.TE": post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "TE.CL": post(CHUNKED + b"Content-Length: 4\r\n", b"5\r\nabcde\r\n0\r\n\r\n" + HIDDEN),
    "CL twice, equal": post(b"Content-Length: 5\r\n" * 2, b"abcde"),
    "CL twice, different": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"abcde"),
    **{
        f"CL {value!r}": post(b"Content-Length: " + value + b"\r\n", b"abcdeabcde")
        for value in [
            *(b"+5", b"5, 5", b"1_0", b"0x5", b"-5", b"", b"5;", b"5\x0b", b"5 5", b"5.0"),
            *("\N{ARABIC-INDIC DIGIT FIVE}".encode(), b"18446744073709551621"),
        ]
    },
    **{
        f"TE {value!r}": post(b"Transfer-Encoding: " + value + b"\r\n", FIVE)
        for value in [
            *(b"chunked, identity", b"identity", b"xchunked", b"Chunked\x0b", b"Chunked\x0c", b""),
            *("chun\N{KELVIN SIGN}ed".encode(), b"chunked, chunked", b"chunked,", b'"chunked"'),
            *(b"chunked;q=1", b"gzip, chunked", b"gzip", b"chunked\x00", b"chun ked"),
        ]
    },
    "TE twice": post(CHUNKED * 2, FIVE),
    "TE identity, then chunked": post(b"Transfer-Encoding: identity\r\n" + CHUNKED, FIVE),
    "TE chunked, then identity": post(CHUNKED + b"Transfer-Encoding: identity\r\n", FIVE),
    "TE space colon": post(b"Transfer-Encoding : chunked\r\n", FIVE),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", FIVE),
    "TE underscore": post(b"Transfer_Encoding: chunked\r\n", FIVE),
    "TE 1.0": post(CHUNKED, FIVE, b"1.0"),
    "TE 1.0 keep-alive": post(CHUNKED + b"Connection: keep-alive\r\n", FIVE, b"1.0"),
    **{
        f"chunk {body[:30]!r}": post(CHUNKED, body)
        for body in [
            b"0x5\r\nabcde\r\n0\r\n\r\n",
            b"5 \r\nabcde\r\n0\r\n\r\n",
            b" 5\r\nabcde\r\n0\r\n\r\n",
            b"-1\r\nabcde\r\n0\r\n\r\n",
            b"+5\r\nabcde\r\n0\r\n\r\n",
            b"1_0\r\nabcdeabcdeabcdea\r\n0\r\n\r\n",
            b"f" * 17 + b"\r\nabcde\r\n0\r\n\r\n",
            b"\r\nabcde\r\n0\r\n\r\n",
            b"5\r\nabcdeXX0\r\n\r\n",
            b"5\r\nabcdefg\r\n0\r\n\r\n",
            b"5\r\nabcde0\r\n\r\n",
            b"5\nabcde\n0\n\n",
            b"5\r\nabcde\n0\r\n\r\n",
            b"5\r\nabcde\r0\r\n\r\n",
            b"5;\nabcde\r\n0\r\n\r\n",
            b'5;a="\r\n"\r\nabcde\r\n0\r\n\r\n',
            b"5\r\nabcde\r\n0\r\nContent-Length: 5\r\n\r\n",
            b"5\r\nabcde\r\n0\r\nno colon\r\n\r\n",
            b"5\r\nabcde\r\n0\r\n\r",
            b"5\r\nabcde\r\n0\r\n\nX",
        ]
    },
    "bare LF": b"GET /v2/ HTTP/1.1\nHost: a\n\n",
    "bare LF after a header": get(b"X: a\nY: b\r\n"),
    "bare CR after a header": get(b"X: a\rY: b\r\n"),
    "bare CR": b"GET /v2/ HTTP/1.1\rHost: a\r\r",
    "folded": get(b"X: a\r\n b\r\n"),
    "folded first": b"GET /v2/ HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
    "NUL in a value": get(b"X: a\0b\r\n"),
    "NUL in a name": get(b"X\0: b\r\n"),
    "NUL in the target": get(target=b"/v2/\0"),
    "control characters": get(b"X: \x01\x7f\r\n"),
    "no colon": get(b"no colon\r\n"),
    "space before the colon": get(b"X : b\r\n"),
    "no name": get(b": b\r\n"),
    "not ASCII in a name": get(b"X\xe9: a\r\n"),
    "129 headers": get(b"".join(b"X-%d: a\r\n" % number for number in range(129))),
    "64 KiB header": get(b"X: " + LONG + b"\r\n"),
    "64 KiB name": get(LONG + b": a\r\n"),
    "64 KiB target": get(target=b"/" + LONG),
    "64 KiB method": LONG + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority-form": get(target=b"a:80"),
    "star": get(target=b"*"),
    "relative": get(target=b"v2/"),
    "port of five nines": get(target=b"http://a:99999/v2/"),
    "half an address": get(target=b"http://[/v2/"),
    "not ASCII in the target": get(target="/v2/é".encode()),
    "not UTF-8 in the target": get(target=b"/v2/\xff"),
    "HTTP/0.9": b"GET /v2/\r\n\r\n",
    "HTTP/0.9 by name": get(version=b"0.9"),
    "HTTP/1.0, and more": get(version=b"1.0"),
    "HTTP/1.2": get(version=b"1.2"),
    "HTTP/2.0": get(version=b"2.0"),
    "HTTP/2.0 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http": b"GET /v2/ http/1.1\r\nHost: a\r\n\r\n",
    "tabs": b"GET\t/v2/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "get": b"get /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an unknown method": b"FOO /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no request": b"NONSENSE\r\n\r\n",
    "no Host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "two Hosts": get(b"Host: b\r\n"),
}
"""Answered with 400 in the registry's form; what follows is not read."""

CLOSED: Final = {
    "Expect in HTTP/1.0": (
        post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"abcde", b"1.0"),
        400,
    ),
    "websocket": (get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), 401),
    "h2c": (get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), 401),
    "websocket with a body": (
        post(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + CHUNKED, FIVE),
        400,
    ),
}
"""A request like any other, and the last one of its connection."""

SERVED: Final = {
    "CL  5": (post(b"Content-Length:  5\r\n", b"abcde"), [400]),
    "CL 5 and a space": (post(b"Content-Length: 5 \r\n", b"abcde"), [400]),
    "CL 005": (post(b"Content-Length: 005\r\n", b"abcde"), [400]),
    "TE": (post(CHUNKED, FIVE), [400]),
    "TE Chunked": (post(b"Transfer-Encoding: Chunked\r\n", FIVE), [400]),
    "TE tab": (post(b"Transfer-Encoding:\tchunked\r\n", FIVE), [400]),
    "chunk 0…05": (post(CHUNKED, b"0" * 16 + FIVE), [400]),
    "chunk extension": (post(CHUNKED, b"5;a=1\r\nabcde\r\n0\r\n\r\n"), [400]),
    "long chunk extension": (post(CHUNKED, b"5;" + LONG + b"\r\nabcde\r\n0\r\n\r\n"), [400]),
    "trailer": (post(CHUNKED, b"5\r\nabcde\r\n0\r\nX-Trailer: 1\r\n\r\n"), [400]),
    "100 headers": (get(b"".join(b"X-%d: a\r\n" % number for number in range(100))), [401]),
    "absolute-form": (get(target=b"http://a/v2/"), [401]),
    "absolute-form, another host": (get(target=b"http://evil/v2/"), [401]),
    "two slashes": (get(target=b"//evil/v2/"), [404]),
    "percent": (get(target=b"/v2/%ff%zz"), [401]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [404]),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", [404]),
    "TRACE": (b"TRACE /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", [401]),
    "HTTP/1.0 keep-alive": (get(b"Connection: keep-alive\r\n", version=b"1.0"), [401]),
    "empty lines first": (b"\r\n\r\n" + get(), [401]),
    "no host in Host": (b"GET /v2/ HTTP/1.1\r\nHost: a/b@c\r\n\r\n", [401]),
    "Expect": (post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"abcde"), [100, 400]),
    "Expect 100-Continue": (
        post(b"Expect: 100-Continue\r\nContent-Length: 5\r\n", b"abcde"),
        [100, 400],
    ),
    "Expect other": (post(b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"abcde"), [400]),
    "Expect two": (post(b"Expect: 100-continue, x\r\nContent-Length: 5\r\n", b"abcde"), [400]),
    "Expect without a body": (get(b"Expect: 100-continue\r\n"), [401]),
    "100 at once": (get() * 100, [401] * 100),
    "not ASCII in a value": (get("X: é\r\n".encode() + b"Y: \xff\r\n"), [401]),
    "not ASCII in Authorization": (get(b"Authorization: Basic \xff\xfe\r\n"), [401]),
    "not ASCII in X-Request-Id": (get(b"X-Request-Id: \xff\r\n"), [401]),
    "GET with a body": (get(b"Content-Length: %d\r\n" % len(HIDDEN)) + HIDDEN, [401]),
    "GET with chunks": (get(CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), [401]),
    "gzip": (post(b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", b"abcde"), [415]),
    "identity and gzip": (
        post(
            b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n",
            b"abcde",
        ),
        [415],
    ),
}
"""Answered, and so is what follows."""


async def sent(client: Client, data: bytes) -> bytes:
    """Return all that comes back until the server ends the connection."""
    address = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(data)
    async with asyncio.timeout(SECONDS):
        answer = await reader.read()
    writer.close()
    return answer


def statuses(answers: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


def check_error(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head.split(b"\r\n")
    assert json.loads(body)["errors"][0]["message"]


async def test_refused(anybody: Client, subtests: pytest.Subtests) -> None:
    for name, case in REFUSED.items():
        with subtests.test(name):
            answer = await sent(anybody, case + MARKER)
            assert statuses(answer) == [400]
            check_error(answer)


async def test_answered_and_closed(anybody: Client, subtests: pytest.Subtests) -> None:
    for name, (case, status) in CLOSED.items():
        with subtests.test(name):
            answer = await sent(anybody, case + MARKER)
            assert statuses(answer) == [status]
            check_error(answer)


async def test_answered_with_what_follows(anybody: Client, subtests: pytest.Subtests) -> None:
    for name, (case, expected) in SERVED.items():
        with subtests.test(name):
            answer = await sent(anybody, case + MARKER)
            assert statuses(answer) == [*expected, 200]
            assert answer.endswith(b"\r\n\r\nalive\n")
            assert b"ready\n" not in answer


def as_upload(case: bytes) -> bytes:
    """Return the request as an upload, whose body is read by a decoder of our own: 401."""
    return case.replace(b"POST /token ", b"POST /v2/a/b/blobs/uploads/ ")


async def test_uploads_are_refused_likewise(anybody: Client, subtests: pytest.Subtests) -> None:
    for name, case in REFUSED.items():
        if case.startswith(b"POST /token "):
            with subtests.test(name):
                answer = await sent(anybody, as_upload(case) + MARKER)
                assert statuses(answer) in ([400], [401])
                check_error(answer)


@each_row("name", ["TE", "TE Chunked", "TE tab", "chunk 0…05", "chunk extension", "trailer"])
async def test_uploads_are_answered_with_what_follows(anybody: Client, name: str) -> None:
    case, _ = SERVED[name]
    assert statuses(await sent(anybody, as_upload(case) + MARKER)) == [401, 200]


async def test_a_hidden_request_would_be_seen(anybody: Client) -> None:
    """The control."""
    answer = await sent(anybody, get() + HIDDEN + MARKER)
    assert statuses(answer) == [401, 200, 200]
    assert b"ready\n" in answer


async def test_without_the_check_two_cases_get_through(
    anybody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: aiohttp's parser alone takes codings that nobody undoes, and chunks in 1.0."""
    monkeypatch.setattr(connection, "check_framing", lambda _: None)
    for case in ("TE b'gzip, chunked'", "TE 1.0 keep-alive"):
        assert statuses(await sent(anybody, REFUSED[case] + MARKER)) == [400, 200]
