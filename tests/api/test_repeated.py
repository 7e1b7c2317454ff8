"""Answers that are given again from the bytes of their request alone say what the usual way says.

Each request is asked on two connections of one server: one that may repeat answers, and one that
may not. The control switches off what is looked at before an answer is repeated: then each change
is overlooked.
"""

import asyncio
import gc
import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from tests.api.client import Client, MakePublic
from tests.api.running import Running
from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.oci.documents import digest, encoded
from treescale.http.connections.connection import Connection
from treescale.http.connections.response_cache import CachedResponse, Place, ResponseCache
from treescale.http.cors import Cors
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.organisations import ANONYMOUS_SETTING
from treescale.metrics.catalog import REQUESTS

LAYER: Final = b"a layer"
TOKEN_SECONDS: Final = 400.0
"""More than an access token's life."""
Change = Callable[[Running, Client, Path], Awaitable[object]]
_NAMED: Final = re.compile(rb"request [0-9a-f]{16}")
_OF_THE_MOMENT: Final = ("Date", "Retry-After")
PROXIES: Final = [IPv4Network("127.0.0.0/8")]


class Counting(ResponseCache):
    """Counts the answers it has given."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def find(self, head: bytes, place: Place) -> CachedResponse | None:
        found = super().find(head, place)
        self.given += found is not None
        return found


class Careless(Counting):
    """The control: looks at nothing before it gives an answer."""

    def find(self, head: bytes, place: Place) -> CachedResponse | None:
        return self._kept.get((head, place))


@dataclass(frozen=True, order=True)
class Reply:
    """An answer, but for the time and the name of its request."""

    status: int
    headers: tuple[str, ...]
    body: bytes


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> Reply:
        """Send the bytes at one stroke, and read the answer."""
        self.writer.write(request)
        async with asyncio.timeout(10):
            return await self.reply(head_only=request.startswith(b"HEAD"))

    async def reply(self, *, head_only: bool) -> Reply:
        """Read an answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        status = int(first.split(" ")[1])
        length = 0 if head_only or status in (204, 304) else int(fields["Content-Length"])
        body = await self.reader.readexactly(length)
        body = _NAMED.sub(b"", body)
        told = (": ".join(field) for field in fields.items() if field[0] not in _OF_THE_MOMENT)
        return Reply(status, tuple(told), body)


@dataclass
class Pair:
    """Two connections to the same server."""

    responses: Counting
    repeating: Wire
    usual: Wire

    async def both(self, request: bytes) -> Reply:
        """Ask on both, and return what both have answered."""
        repeated, made = await self.repeating.ask(request), await self.usual.ask(request)
        assert repeated == made
        return made

    async def repeated(self, request: bytes) -> Reply:
        """Ask until the answer was given again; what both have answered."""
        for _ in range(2):
            await self.both(request)
        before = self.responses.given
        answer = await self.both(request)
        assert self.responses.given == before + 1, request
        return answer


@pytest.fixture
def responses() -> Counting:
    """What a test's server repeats answers by."""
    return Counting()


@pytest.fixture
async def pair(registry: Running, responses: Counting) -> AsyncIterator[Pair]:
    """Connect twice to the registry."""
    wires = []
    for kept in (responses, None):
        registry.connections.responses = kept
        wires.append(await connected(registry))
    registry.connections.responses = responses
    yield Pair(responses, *wires)
    for wire in wires:
        wire.writer.close()


async def connected(registry: Running) -> Wire:
    """Return a new connection that the server has taken in."""
    host, port = registry.url.removeprefix("http://").split(":")
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    await wire.ask(b"GET /v2/ HTTP/1.1\r\nHost: here\r\n\r\n")
    return wire


def asking(method: str, path: str, token: str, *fields: str) -> bytes:
    """Return a request."""
    first = f"{method} /v2/alice/app/{path} HTTP/1.1"
    lines = [first, "Host: here", f"Authorization: Bearer {token}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


async def pushed(alice: Client) -> dict[str, str]:
    """Push an image; return where its parts are."""
    document = await alice.repository("alice/app").push_image("latest", LAYER)
    return {
        "tag": "manifests/latest",
        "digest": f"manifests/{digest(encoded(document))}",
        "blob": f"blobs/{digest(LAYER)}",
    }


async def all_requests(alice: Client, token: str) -> list[bytes]:
    """Push an image; return all requests whose answers may be repeated."""
    places = await pushed(alice)
    gets = [asking("GET", places[name], token) for name in ("tag", "digest")]
    return [*gets, *(asking("HEAD", place, token) for place in places.values())]


async def tag_moved(_: Running, alice: Client, __: Path) -> None:
    await alice.repository("alice/app").push_image("latest", LAYER, b"another")


async def tag_deleted(_: Running, alice: Client, __: Path) -> None:
    (await alice.repository("alice/app").delete("manifests/latest")).expect(202)


async def image_deleted(_: Running, alice: Client, __: Path) -> None:
    app = alice.repository("alice/app")
    found = await app.get("manifests/latest")
    name = found.expect(200).headers["Docker-Content-Digest"]
    (await app.delete(f"manifests/{name}")).expect(202)


async def repository_deleted(registry: Running, _: Client, __: Path) -> None:
    await registry.parts.database.repositories.delete("alice/app", actor=ACTOR)


async def changed_by_another_process(_: Running, __: Client, file: Path) -> None:
    other = sqlite3.connect(file)
    other.execute("DELETE FROM tags")
    other.commit()
    other.close()


async def token_ended(registry: Running, _: Client, __: Path) -> None:
    registry.parts.clock.skip(TOKEN_SECONDS)


async def user_removed(registry: Running, _: Client, __: Path) -> None:
    await registry.parts.accounts.remove_user("alice", actor=ACTOR)
    await registry.parts.tokens.refresh()


async def user_suspended(registry: Running, _: Client, __: Path) -> None:
    await AccountStates(registry.parts.database.connections).suspend("alice", actor=ACTOR)
    await registry.parts.tokens.refresh()


async def key_removed(registry: Running, _: Client, __: Path) -> None:
    keys = registry.parts.database.signing_keys
    (old,) = await keys.list()
    await registry.parts.tokens.rotate()
    await keys.remove(old.key_id)
    await registry.parts.tokens.refresh()


async def database_away(registry: Running, _: Client, __: Path) -> None:
    Away(registry.parts.database).begin()


async def server_forgotten(registry: Running, _: Client, __: Path) -> None:
    registry.parts.ready.forgotten = True


async def nothing_allowed(registry: Running, alice: Client, _: Path) -> None:
    registry.parts.rates.limit(1, None)
    await alice.request("GET", "/v2/")  # the one


CHANGES: Final[Sequence[Change]] = (
    *(tag_moved, tag_deleted, image_deleted, repository_deleted, changed_by_another_process),
    *(token_ended, user_removed, user_suspended, key_removed, database_away, server_forgotten),
    nothing_allowed,
)


async def own_requests(alice: Client) -> list[bytes]:
    """Return all requests, with a token of alice's own that may push."""
    return await all_requests(alice, await alice.token("repository:alice/app:pull,push,delete"))


@pytest.mark.parametrize("first", ["warm", "cold"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_no_answer_outlives_a_change(
    registry: Running, alice: Client, pair: Pair, tmp_path: Path, change: Change, first: str
) -> None:
    requests = await own_requests(alice)
    before = [
        await pair.repeated(each) if first == "warm" else await pair.usual.ask(each)
        for each in requests
    ]
    assert {each.status for each in before} == {200}
    await change(registry, alice, tmp_path / "treescale.db")
    after = [await pair.both(each) for each in requests]
    assert after != before
    assert [await pair.both(each) for each in requests] == after


@pytest.mark.parametrize("responses", [Careless()])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_without_a_look_each_change_is_overlooked(
    registry: Running, alice: Client, pair: Pair, tmp_path: Path, change: Change
) -> None:
    """The control of the test above."""
    requests = await own_requests(alice)
    before = [await pair.repeating.ask(each) for each in requests * 2][len(requests) :]
    await change(registry, alice, tmp_path / "treescale.db")
    assert [await pair.repeating.ask(each) for each in requests] == before
    assert [await pair.usual.ask(each) for each in requests] != before


async def test_the_anonymous_are_answered_until_nothing_is_for_them(
    registry: Running, alice: Client, anybody: Client, pair: Pair, make_public: MakePublic
) -> None:
    await pushed(alice)
    await make_public("alice/app")
    token = await anybody.token("repository:alice/app:pull")
    requests = await all_requests(alice, token)
    for each in requests:
        assert (await pair.repeated(each)).status == 200
    await registry.parts.database.settings.put(ANONYMOUS_SETTING, "off")
    await registry.parts.tokens.refresh()
    for each in requests:
        assert (await pair.both(each)).status == 401


async def test_a_private_repository_is_as_closed_as_ever(
    registry: Running, alice: Client, anybody: Client, pair: Pair, make_public: MakePublic
) -> None:
    """A token of before lasts its five minutes, and a new one has no right to it."""
    await pushed(alice)
    await make_public("alice/app")
    requests = await all_requests(alice, await anybody.token("repository:alice/app:pull"))
    for each in requests:
        await pair.repeated(each)
    repositories = registry.parts.database.repositories
    await repositories.set_public("alice/app", public=False, now=0, actor=ACTOR)
    for each in requests:
        await pair.both(each)
    anybody.tokens.clear()
    token = await anybody.token("repository:alice/app:pull")
    for each in await all_requests(alice, token):
        assert (await pair.both(each)).status == 401


async def test_each_token_has_its_own_answers(alice: Client, bob: Client, pair: Pair) -> None:
    mine = await own_requests(alice)
    theirs = await all_requests(alice, await bob.token("repository:alice/app:pull"))
    for each in mine:
        assert (await pair.repeated(each)).status == 200
    for each in theirs:
        assert (await pair.both(each)).status == 401


async def test_who_sends_a_password_is_asked_for_it_each_time(alice: Client, pair: Pair) -> None:
    """Whether it still counts is not known from memory alone."""
    places = await pushed(alice)
    basic = alice.basic()["Authorization"]
    for place in places.values():
        request = asking("HEAD", place, "").replace(b"Bearer ", basic.encode())
        for _ in range(4):
            assert (await pair.both(request)).status == 200
    assert len(pair.responses) == 0


async def test_as_many_as_are_allowed_and_no_more(
    registry: Running, alice: Client, pair: Pair
) -> None:
    get, *_ = await own_requests(alice)
    await pair.repeated(get)
    registry.parts.rates.limit(None, 3)
    assert [(await pair.repeating.ask(get)).status for _ in range(5)] == [200, 200, 200, 429, 429]
    registry.parts.rates.limit(None, None)
    await pair.repeated(get)


async def test_nothing_is_kept_in_memory_for_an_answer_to_head(
    registry: Running, alice: Client, pair: Pair
) -> None:
    """A manifest has up to 4 MiB, and the bytes of its answer are counted alone."""
    for each in (await own_requests(alice))[2:]:
        await pair.repeated(each)
    database = registry.parts.database
    kept = [
        weakref.ref(entry.value)
        for answers in (
            *(database.manifests._by_tag, database.manifests._by_digest, database.blobs._known),
        )
        for entry in answers._kept.values()
    ]
    assert len(kept) >= 3
    database.manifests._by_tag._kept.clear()
    database.manifests._by_digest._kept.clear()
    database.blobs._known._kept.clear()
    gc.collect()
    assert len(pair.responses) == 3
    assert [each() for each in kept] == [None] * len(kept)


@pytest.mark.parametrize("noun", ["blob", "manifest"])
async def test_what_is_promised_no_longer_is_promised_anew(
    registry: Running, alice: Client, pair: Pair, monkeypatch: pytest.MonkeyPatch, noun: str
) -> None:
    """Who may push builds on what it hears: a repeated answer would promise nothing."""
    requests = await own_requests(alice)
    head = requests[-1] if noun == "blob" else requests[0]
    await pair.repeated(head)
    given = pair.responses.given
    if noun == "blob":
        monkeypatch.setattr(registry.parts.database.blobs, "is_promised", lambda _: False)
    else:
        monkeypatch.setattr(registry.rooms.publishing, "is_to_renew", lambda _: True)
    assert (await pair.repeating.ask(head)).status == 200
    assert pair.responses.given == given


@pytest.mark.parametrize(
    "field",
    [
        "If-None-Match: *",
        "If-Match: *",
        'If-Match: "sha256:of something else"',
        'If-None-Match: "sha256:of something else"',
        "Range: bytes=0-3",
        "Accept: text/plain",
        "Origin: https://pages.example.com",
        "X-Request-Id: mine",
        "Connection: keep-alive",
        "Content-Encoding: gzip",
        "Content-Length: 0",
        "Expect: 100-continue",
    ],
)
@pytest.mark.parametrize("cors", [Cors(frozenset({"https://pages.example.com"}))])
async def test_whatever_else_a_request_says_is_heeded(
    alice: Client, pair: Pair, field: str
) -> None:
    places, token = await pushed(alice), await alice.token("repository:alice/app:pull")
    for method in ("GET", "HEAD"):
        plain, special = (asking(method, places["tag"], token, *more) for more in ((), (field,)))
        for each in (plain, special) * 4:
            await pair.both(each)


async def lines_of(pair: Pair, request: bytes) -> tuple[list[object], ...]:
    """Return what is logged of a request on each connection, once its answer is kept."""
    for _ in range(2):
        await pair.both(request)
    told: list[list[object]] = []
    for wire in (pair.repeating, pair.usual):
        with capture_logs() as lines:
            await wire.ask(request)
        told.append([{**line, "seconds": 0} for line in lines if line["event"] == "request"])
    return tuple(told)


@pytest.mark.parametrize("trusted_proxies", [PROXIES])
async def test_the_log_has_the_same_line(alice: Client, pair: Pair) -> None:
    places, token = await pushed(alice), await alice.token("repository:alice/app:pull")
    forwarded = "X-Forwarded-For: 198.51.100.1, 203.0.113.7:80"
    for method in ("GET", "HEAD"):
        for place in places.values():
            named = asking(method, place, token, "X-Request-Id: told", forwarded)
            repeated, made = await lines_of(pair, named)
            assert repeated == made
            assert len(made) == 1
    unnamed = asking("GET", places["tag"], token, forwarded)
    given = pair.responses.given
    repeated, _ = await lines_of(pair, unnamed)
    again, _ = await lines_of(pair, unnamed)
    assert pair.responses.given > given
    names = [line["request_id"] for told in (repeated, again) for line in told]  # type: ignore[index]
    assert len({*names}) == 2, "each has a name of its own"
    assert all(len(name) == 16 for name in names)


def counts(registry: Running) -> dict[tuple[str, ...], int]:
    """Return how many requests, and pulls, were counted."""
    (requests,) = (each for each in registry.parts.meters.families() if each.metric is REQUESTS)
    found = {sample.labels: int(str(sample.value)) for sample in requests.samples}
    counter = registry.rooms.publishing.counter
    counter._add_noted()
    pulled = counter._pulled
    return found | {("pulled", *key): one.times for key, one in pulled.items()}


async def test_each_is_counted(registry: Running, alice: Client, pair: Pair) -> None:
    requests = await own_requests(alice)
    for each in requests:
        await pair.repeated(each)
    added = []
    for wire in (pair.repeating, pair.usual):
        before = Counter(counts(registry))
        for each in requests * 2:
            await wire.ask(each)
        added.append(Counter(counts(registry)) - before)
    assert added[0] == added[1]
    assert added[0]["manifest", "GET", "200"] == 4
    assert added[0]["pulled", "alice/app", "latest"] == 2


async def test_a_login_is_known_of_the_connection(
    registry: Running, alice: Client, pair: Pair
) -> None:
    get, *_ = await own_requests(alice)
    await pair.repeated(get)
    wire = await connected(registry)
    (new,) = newest(registry)
    assert not new.logged_in
    given = pair.responses.given
    assert (await wire.ask(get)).status == 200
    assert pair.responses.given == given + 1, "answers are of all connections"
    assert new.logged_in
    wire.writer.close()


def newest(registry: Running) -> list[Connection]:
    """Return the connections on which nobody has logged in."""
    found = [each for each in registry.connections.connections if isinstance(each, Connection)]
    return [each for each in found if not each.logged_in]


async def test_a_server_that_ends_says_so(registry: Running, alice: Client, pair: Pair) -> None:
    get, *_ = await own_requests(alice)
    await pair.repeated(get)
    host, port = registry.url.removeprefix("http://").split(":")
    before = len(registry.connections.connections)
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    while len(registry.connections.connections) == before:  # noqa: ASYNC110
        await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(registry.connections.drain(5))
        await asyncio.sleep(0)
        reply = await wire.ask(get)  # who came just before the end is answered
    assert reply.status == 200
    assert "Connection: close" in reply.headers
    wire.writer.close()
