"""Requests whose bytes were damaged, with a marker after them: one connection, no confusion.

Where one request ends decides what the next one is. So the marker, a request of its own, is
answered exactly once and with its own answer, or the connection is closed; a head that two readers
would read differently (two lengths, a length and chunks) is refused and nothing after it is read.
"""

import asyncio
import re
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source, handed in
from typing import Final

import aiohttp
import pytest

from tests.fuzz.budget import TIMEOUT, Tally, cases, chance
from tests.fuzz.callers import Wallet
from tests.fuzz.conftest import NewTally
from tests.fuzz.content import LAYER, SAMPLES
from tests.fuzz.model import hash_of
from tests.fuzz.rig import copy_home, running
from tests.fuzz.test_requests import KnownImage, memory_bytes_max, run_cases
from tests.fuzz.wire import Answered, Broken, Link, request

SHARE = 0.2
quiet_seconds: Final = 0.1
"""How long an answer may take before the end of the stream is announced; only speed hangs on it."""
TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b":", b",", b";", b"0", b"-", b"+",
    b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"chunked", b"xchunked",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b" folded\r\n",
    b"Content-Length: +7\r\n", b"Content-Length: 7, 7\r\n", b"Content-Length: 1_0\r\n", b"0x7",
    b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n", b"HTTP/1.0", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03",
    b"7;ext=1\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"Trailer: x\r\n", b"\xe2\x84\xaa", b"\xff",
    b"Host: other\r\n", b"X: " + b"y" * 70_000 + b"\r\n", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip
_LENGTH: Final = re.compile(rb"content-length:[ \t]*([0-9]+)[ \t]*", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"transfer-encoding:[ \t]*chunked[ \t]*", re.IGNORECASE)


def seeds(credentials: str) -> list[bytes]:
    """Return good requests; none of them a HEAD, whose answers have no end of their own."""
    headers = [("Authorization", credentials)]
    manifest = [*headers, ("Content-Type", SAMPLES[0].media_type)]
    uploads, tag = "/v2/alice/app/blobs/uploads/", "/v2/alice/app/manifests/latest"
    whole = f"{uploads}?digest={hash_of(LAYER)}"
    inner = request("GET", "/v2/alice/app/manifests/inner", headers, None)
    return [
        request("GET", "/v2/", headers, None),
        request("GET", tag, [*headers, ("Accept", "a/b"), ("Accept", "*/*")], None),
        request("POST", uploads, headers, b""),
        request("POST", whole, headers, LAYER),
        request("POST", whole, headers, LAYER, chunk=3),
        request("POST", whole, headers, inner),
        request("PUT", tag, manifest, SAMPLES[0].payload),
        request("PUT", tag, manifest, SAMPLES[0].payload, chunk=100),
        request("PUT", tag, [*manifest, ("Expect", "100-continue")], SAMPLES[0].payload),
        request("PATCH", f"{uploads}{'0' * 32}", headers, inner, chunk=7),
        request("POST", "/token", [("Content-Type", "application/x-www-form-urlencoded")], b"a=b"),
    ]


def mutated(source: Random, data: bytes) -> bytes:
    """Return the bytes with one to four kinds of damage, most of it in the head."""
    for _ in range(source.choice((1, 1, 2, 3, 4))):
        end = data.find(b"\r\n\r\n") + 4
        at = source.randrange(end if source.random() < 0.7 else len(data) + 1)
        until = min(len(data), at + source.choice((1, 1, 2, 5, 40)))
        kind = source.randrange(6)
        if kind == 0:
            data = data[:at] + source.randbytes(1) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[until:]
        elif kind == 2:
            data = data[:until] + data[at:until] + data[until:]
        elif kind == 3:
            data = data[:at] + source.choice(TOKENS) + data[at:]
        elif kind == 4:
            lines = data.split(b"\r\n")
            lines.insert(source.randrange(len(lines)), source.choice(TOKENS).rstrip(b"\r\n"))
            data = b"\r\n".join(lines)
        else:
            data = _other_number(source, data)
        data = data or b"\r\n"
    return data


def _other_number(source: Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"(?<=[: \n])[0-9a-f]{1,4}(?=[\r;,])", data))
    if not found:
        return data
    place = source.choice(found)
    new = source.choice((b"0", b"1", b"7", b"8", b"99999", b"-1", b"0x7", b"007", b"7 ", b"9" * 25))
    return data[: place.start()] + new + data[place.end() :]


def ambiguous(data: bytes) -> bool:
    """Return whether the first head says plainly two different things about its body's length."""
    lines = data.lstrip(b"\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    lengths = {found[1] for line in lines if (found := _LENGTH.fullmatch(line))}
    return len(lengths) + any(_CHUNKED.fullmatch(line) for line in lines) > 1


def judge(data: bytes, marker: str, answers: list[Answered]) -> None:
    """Raise Broken unless these answers to the damaged request and the marker are sane."""
    if data[:1] == b"\x16":  # a TLS hello, to be answered in plain text at once
        return
    for answer in answers:
        answer.check()
    own = [at for at, answer in enumerate(answers) if marker.encode() in answer.body]
    if own and own != [len(answers) - 1]:
        raise Broken(f"the marker was answered at {own} of {len(answers)}")
    if own and answers[-1].status != 404:
        raise Broken(f"the marker got another's answer: {answers[-1]}")
    if ambiguous(data) and (len(answers) > 1 or any(one.status < 400 for one in answers)):
        raise Broken(f"an ambiguous request was taken: {answers}")


async def exchange(port: int, data: bytes) -> list[Answered]:
    """Send the bytes and return all answers, until the server closes the connection."""
    link = await Link.open(port)
    answers: list[Answered] = []
    try:
        await link.send(data)
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(_announce_end(link))
            while (answer := await link.answer(head=False)) is not None:
                answers.append(answer)
            closing.cancel()
    finally:
        await link.close()
    return answers


async def _announce_end(link: Link) -> None:
    """Say that nothing more will come: a request that is not whole must not be waited for."""
    await asyncio.sleep(quiet_seconds)
    if link.writer.can_write_eof() and not link.writer.is_closing():
        link.writer.write_eof()


async def run_case(number: int, port: int, credentials: str, tally: Tally) -> None:
    """Damage a request, send the marker after it, and judge what comes."""
    source = chance(number, "framing")
    data = mutated(source, source.choice(seeds(credentials)))
    marker = f"marker-{number}"
    headers = [("Authorization", credentials), ("Connection", "close")]
    tally.inputs += 1
    try:
        answers = await exchange(
            port, data + request("GET", f"/v2/alice/app/manifests/{marker}", headers, None)
        )
        judge(data, marker, answers)
    except AssertionError as error:
        error.add_note(f"the request: {data[:3000]!r}")
        raise
    for answer in answers:
        tally.answered(answer.status)
    if not answers or marker.encode() not in answers[-1].body:
        tally.answers["closed"] += 1


@pytest.mark.early
@pytest.mark.timeout(TIMEOUT)
async def test_no_bytes_confuse_two_requests(
    home: Path, tmp_path: Path, new_tally: NewTally
) -> None:
    tally = new_tally("framing")
    async with (
        running(copy_home(home, tmp_path / "home")) as worker,
        aiohttp.ClientSession() as http,
    ):
        image = KnownImage(http, worker.url)
        await image.push()
        credentials = Wallet(home).basic("alice")["Authorization"]
        await run_cases(
            cases(SHARE), lambda number: run_case(number, worker.port, credentials, tally)
        )
        await image.check()
    assert tally.grown() < memory_bytes_max, tally


async def test_undamaged_requests_and_their_marker_are_answered(home: Path, tmp_path: Path) -> None:
    async with running(copy_home(home, tmp_path / "home")) as worker:
        credentials = Wallet(home).basic("alice")["Authorization"]
        for data in seeds(credentials):
            assert not ambiguous(data)
            headers = [("Authorization", credentials), ("Connection", "close")]
            marker = request("GET", "/v2/alice/app/manifests/marker", headers, None)
            answers = await exchange(worker.port, data + marker)
            judge(data, "marker", answers)
            assert len(answers) == 2, data


def test_the_judge_sees_what_is_wrong() -> None:
    headers = {
        "docker-distribution-api-version": "registry/2.0",
        "content-type": "application/json",
    }
    body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"marker"}]}'
    marker, other = Answered(404, headers, body), Answered(200, headers, b"{}")
    judge(b"", "marker", [other, marker])
    two = b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    wrong: list[tuple[bytes, list[Answered]]] = [
        (b"", [marker, other]),
        (b"", [marker, marker]),
        (b"", [Answered(200, headers, body)]),
        (b"", [Answered(500, headers, body)]),
        (b"", [Answered(404, {}, body)]),
        (two, [other]),
        (two, [marker, marker]),
    ]
    for data, answers in wrong:
        with pytest.raises(Broken):
            judge(data, "marker", answers)
