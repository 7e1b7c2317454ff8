"""Final answers that leave before the body was read, and bodies that are waited for."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.api.client import Client
from tests.tables import each_row
from treescale.http.limits import LIMITS

SECONDS: Final = 20
NEXT: Final = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
MANIFEST: Final = "PUT /v2/alice/app/manifests/1"
IMPATIENT: Final = replace(LIMITS, body_window_seconds=0.3)


class Raw:
    """A connection of which every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.send = writer.write

    async def answer(self) -> tuple[bytes, bytes]:
        """Return head and body of the next answer."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
            size = int(length[0].partition(b":")[2]) if length else 0
            return head, await self._reader.readexactly(size)

    async def ended(self) -> bool:
        """Say whether the server ends the connection, and sends nothing more."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read() == b""


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Raw]:
    address = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    yield Raw(reader, writer)
    writer.transport.abort()


def head_of(line: str, *lines: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


async def bearer(client: Client, actions: str = "pull,push") -> str:
    return f"Authorization: Bearer {await client.token(f'repository:alice/app:{actions}')}"


class TestEarlyAnswers:
    @each_row(
        "lines, status",
        [
            (["Content-Length: 5000000"], b"401"),
            (["Transfer-Encoding: chunked"], b"401"),
            (["Content-Length: 5000000", "Expect: 100-continue"], b"401"),
            (["Content-Length: 5000000", "Content-Encoding: gzip"], b"415"),
            (["Content-Length: 5000000", "{bearer}"], b"413"),
            (["Content-Length: 5000000", "Expect: nonsense", "{bearer}"], b"4"),
        ],
    )
    async def test_it_says_that_the_connection_ends(
        self, alice: Client, lines: list[str], status: bytes
    ) -> None:
        token = await bearer(alice)
        async with connected(alice) as wire:
            wire.send(head_of(MANIFEST, *(line.replace("{bearer}", token) for line in lines)))
            head, _ = await wire.answer()
            assert head.startswith(b"HTTP/1.1 " + status)
            assert b"\r\nConnection: close\r\n" in head
            wire.send(b"x" * 1000)  # what it had begun to send must not be read as a request
            wire.send(NEXT)

    @pytest.mark.parametrize("body", [b"", b"small"])
    async def test_a_body_that_is_here_keeps_the_connection(
        self, alice: Client, body: bytes
    ) -> None:
        async with connected(alice) as wire:
            wire.send(head_of(MANIFEST, f"Content-Length: {len(body)}") + body)
            head, _ = await wire.answer()
            assert head.startswith(b"HTTP/1.1 401")
            assert b"close" not in head
            wire.send(NEXT)
            assert (await wire.answer())[0].startswith(b"HTTP/1.1 200")

    async def test_a_body_that_was_read_keeps_the_connection(self, alice: Client) -> None:
        async with connected(alice) as wire:
            wire.send(head_of(MANIFEST, await bearer(alice), "Content-Length: 5"))
            await asyncio.sleep(0.05)
            wire.send(b"wrong")
            head, _ = await wire.answer()
            assert head.startswith(b"HTTP/1.1 400")
            wire.send(NEXT)
            assert (await wire.answer())[0].startswith(b"HTTP/1.1 200")

    async def test_an_answer_that_streams_says_it_too(self, alice: Client) -> None:
        data = b"layer" * 100_000
        digest = await alice.repository("alice/app").push_blob(data)
        async with connected(alice) as wire:
            path = f"GET /v2/alice/app/blobs/{digest}"
            wire.send(head_of(path, await bearer(alice), "Content-Length: 10"))
            head, body = await wire.answer()
            assert b"\r\nConnection: close\r\n" in head
            assert body == data

    async def test_the_connection_does_end(self, alice: Client) -> None:
        async with connected(alice) as wire:
            wire.send(head_of(MANIFEST, "Content-Length: 5") + b"abc")
            await wire.answer()
            wire.send(b"de")
            assert await wire.ended()


@pytest.mark.parametrize("limits", [IMPATIENT])
class TestLateBodies:
    """The window for strangers is a third of a second here; whoever is logged in has an hour."""

    async def test_who_is_logged_in_may_pause(self, alice: Client) -> None:
        methods, expects = ["PUT", "POST", "PATCH"], [[], ["Expect: 100-continue"]]
        async with asyncio.TaskGroup() as group:  # beside each other: each waits half a second
            for method, expect, first, chunked in product(
                methods, expects, [b"", b"begin"], [False, True]
            ):
                group.create_task(self._pauses(alice, method, expect, first, chunked=chunked))

    async def _pauses(
        self, alice: Client, method: str, expect: list[str], first: bytes, *, chunked: bool
    ) -> None:
        data = first + b"late" * 1000
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if method == "POST":
            path = f"/v2/alice/app/blobs/uploads/?digest={digest}"
        else:
            path = await alice.repository("alice/app").start_upload()
            path += f"?digest={digest}" if method == "PUT" else ""
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(data)}"
        async with connected(alice) as wire:
            wire.send(head_of(f"{method} {path}", await bearer(alice), framing, *expect))
            if expect:
                assert (await wire.answer())[0].startswith(b"HTTP/1.1 100 ")
            for piece in (first, data[len(first) :]):
                if piece:
                    wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await asyncio.sleep(0.5 if piece == first else 0)
            wire.send(b"0\r\n\r\n" if chunked else b"")
            head, _ = await wire.answer()
            assert head.startswith(b"HTTP/1.1 202" if method == "PATCH" else b"HTTP/1.1 201")
            assert b"close" not in head

    async def test_a_stranger_may_not(self, alice: Client) -> None:
        async with connected(alice) as wire:
            form = "Content-Type: application/x-www-form-urlencoded"
            wire.send(head_of("POST /token", form, "Content-Length: 10"))
            head, _ = await wire.answer()
            assert head.startswith(b"HTTP/1.1 408")
            assert b"\r\nConnection: close\r\n" in head

    @pytest.mark.parametrize("who", ["", "Authorization: Basic YWxpY2U6d3Jvbmc="])
    async def test_without_a_login_the_answer_comes_before_the_body(
        self, alice: Client, who: str
    ) -> None:
        lines = ["Content-Length: 5000000", *filter(None, [who])]
        async with connected(alice) as wire:
            wire.send(head_of("PUT /v2/alice/app/blobs/uploads/x?digest=y", *lines))
            assert (await wire.answer())[0].startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "limits", [replace(LIMITS, body_window_seconds=0.1, login_body_window_seconds=0.2)]
)
async def test_the_control_an_hour_is_a_limit_too(alice: Client) -> None:
    async with connected(alice) as wire:
        wire.send(head_of(MANIFEST, await bearer(alice), "Content-Length: 10"))
        assert (await wire.answer())[0].startswith(b"HTTP/1.1 408")


def serving() -> set[asyncio.Task[object]]:
    """Return the tasks that serve connections."""
    return {
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "") == "RequestHandler.start"
    }


async def test_who_leaves_after_an_early_answer_is_not_waited_for(alice: Client) -> None:
    token = await bearer(alice)
    before = serving()
    async with connected(alice) as raw:
        raw.send(head_of(MANIFEST, "Content-Length: 5000000", token) + b"a" * 300_000)
        head, _ = await raw.answer()
        assert b" 413 " in head
        (task,) = serving() - before
        assert not task.done()
    done, _ = await asyncio.wait([task], timeout=LIMITS.linger_seconds_max / 2)
    assert done
