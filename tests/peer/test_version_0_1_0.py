"""What version 0.1.0 asked and answered is what is asked and answered now, byte for byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes_disk import JumpingClock
from tests.peer.conftest import KEYS, Server
from tests.peer.raw import answer_to, listening
from tests.tables import each_row
from treescale.chunks.store import chunk_id_of
from treescale.errors import ChunkUnknown, Unreachable
from treescale.peer.client import PeerClient, ask_all
from treescale.peer.health import PeerHealth, ping_once
from treescale.peer.protocol import ANSWER_HEADER, Action, Pong
from treescale.peer.signing import Signer
from treescale.peer.store import PeerStore

RECORDED = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "peer_wire.json").read_text()
)
DATA = bytes(range(256)) * 2
CHUNK, ABSENT = chunk_id_of(DATA), chunk_id_of(b"absent")
QUESTION = b'{"noun":"tag"}'
HEAD_END = b"\r\n\r\n"


@dataclass
class Asking:
    """Server a of then, which had these numbers."""

    signer: Signer
    url: str
    client: PeerClient
    store: PeerStore


async def listed(store: PeerStore) -> list[bytes]:
    return [chunk async for chunk in store.list([int.from_bytes(CHUNK[:2]) >> 4, 5])]


NEWER = {"KEEP"}
"""What version 0.1.0 does not know: it answers 400, which its asker takes for Unreachable."""
GONE = {"delete"}
"""What version 0.1.0 knew and never asked: it is answered as what nobody knows."""
Ask = Callable[[Asking], Awaitable[object]]
ASKED: dict[str, tuple[Ask, object]] = {
    "usage": (lambda a: a.store.usage(), Unreachable),  # that store in memory could not say it
    "reserve": (lambda a: a.store.check_space(1000), None),
    "put": (lambda a: a.store.put(CHUNK, DATA), None),
    "have": (lambda a: a.store.have([CHUNK, ABSENT]), [True, False]),
    "get": (lambda a: a.store.get(CHUNK), DATA),
    "get absent": (lambda a: a.store.get(ABSENT), ChunkUnknown),
    "list": (lambda a: listed(a.store), [CHUNK]),
    "verify": (lambda a: a.store.verify(CHUNK), None),
    "known": (lambda a: ask_all([a.client], QUESTION, 1.0), [b"an answer to " + QUESTION]),
    "ping": (lambda a: ping_once(a.signer, a.url), Pong("b", "boot-1")),
}


def recorded(name: str, which: str) -> bytes:
    text: str = RECORDED[name][which]
    return text.encode("latin-1")


def test_everything_was_recorded() -> None:
    assert RECORDED.keys() == ASKED.keys() | GONE
    asked = {name.split()[0].upper() for name in ASKED}
    assert asked | NEWER == {action.name for action in Action}


@each_row("name", ASKED)
async def test_what_is_asked_and_understood(
    clock: JumpingClock, threads: Executor, name: str
) -> None:
    """Our end, and a server of then."""
    ask, expected = ASKED[name]
    sent = recorded(name, "request")
    came = []

    async def answer(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readexactly(len(sent) - len(b"HOST") + len(host)))
        writer.write(recorded(name, "answer"))
        came.append(await reader.read())

    async with listening(answer) as port:
        host = f"127.0.0.1:{port}"
        url = f"http://{host}"
        signer = Signer("a", "b", lambda: KEYS, clock.now, lambda: "0" * 32)
        health = PeerHealth(signer, url, clock=clock, chance=lambda: 0.0)
        with closing(PeerClient(signer, url, health)) as client:
            store = PeerStore("memory", client, threads, clock=clock)
            found = await outcome(ask(Asking(signer, url, client, store)))
    assert b"".join(came).replace(host.encode(), b"HOST") == sent
    assert found == expected


async def outcome(work: Awaitable[object]) -> object:
    try:
        return await work
    except (ChunkUnknown, Unreachable) as error:
        return type(error)


@pytest.mark.parametrize("name", GONE)
async def test_what_is_not_answered_any_more(server: Server, name: str) -> None:
    await server.stores["memory"].put(CHUNK, DATA)
    found = await answer_to(server.port, recorded(name, "request").replace(b"HOST", b"b"))
    assert found.status == 405
    assert await server.stores["memory"].have([CHUNK]) == [True]


async def test_what_is_answered(server: Server) -> None:
    """Our end, and a client of then: in this order, for one thing follows from another."""
    for name in ASKED:
        found = await answer_to(server.port, recorded(name, "request").replace(b"HOST", b"b"))
        head, _, body = recorded(name, "answer").partition(HEAD_END)
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert (found.status, found.body) == (int(first.split()[1]), body), name
        for header in (ANSWER_HEADER.lower(), "content-length"):
            assert found.headers[header] == headers[header], (name, header)
        assert found.headers.keys() == headers.keys(), name
