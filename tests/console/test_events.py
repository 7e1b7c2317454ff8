"""`/api/v1/events`: who is shown what, in pages that lead on, and followed as it happens."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.api.client import Answer, Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import encoded
from treescale.auth.scopes import TokenScope
from treescale.console import events
from treescale.console.route import PREFIX
from treescale.events import live
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.schema import events as events_table
from treescale.registry.accounts import TokenTerms

PATH: Final = "/events"
SECONDS_MAX: Final = 10.0
GONE_SECONDS: Final = 0.1
"""Until a server has seen that somebody has gone."""


async def read(who: Client, query: str = "") -> list[dict[str, Any]]:
    """Read all there is, in pages of two, and return it."""
    found: list[dict[str, Any]] = []
    after, more = "oldest", True
    while more:
        page = (await ask(who, "GET", f"{PATH}?n=2&after={after}&{query}")).expect(200).json
        assert not page["gap"]
        found += page["events"]
        after, more = page["next"], page["more"]
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in found]


async def pushed(who: Client, name: str, tag: str = "v1") -> str:
    """Push an image, and return its digest."""
    document = await who.repository(name).push_image(tag, f"layer of {tag}".encode())
    return f"sha256:{hashlib.sha256(encoded(document)).hexdigest()}"


async def token(registry: Running, user: str, *allow: Any, glob: str = "*") -> str:
    terms = replace(TokenTerms("one", frozenset(allow)), repository=glob)
    text, _ = await registry.parts.accounts.create_token(user, terms, actor=ACTOR)
    return text


def with_token(who: Client, text: str) -> Client:
    return Client(who.session, who.url, who.user, text)


class Stream:
    """Somebody who follows, line by line."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> str:
        async with asyncio.timeout(SECONDS_MAX):
            return (await self.response.content.readline()).decode()

    async def event(self) -> dict[str, Any]:
        """Return the next event, whichever form it has."""
        while True:
            line = (await self.line()).removeprefix("data: ")
            assert line, "it has ended"
            if line.startswith("{") and "sequence" in line:
                found: dict[str, Any] = json.loads(line)
                return found


@asynccontextmanager
async def following(who: Client, query: str = "follow=1", **headers: str) -> AsyncIterator[Stream]:
    url = f"{who.url}{PREFIX}{PATH}?{query}"
    given = who.basic() | {name.replace("_", "-"): text for name, text in headers.items()}
    async with who.session.get(url, headers=given) as response:
        assert response.status == 200, await response.read()
        yield Stream(response)


async def test_the_owner_reads_what_happened_in_order(alice: Client) -> None:
    digest = await pushed(alice, "alice/app")
    deleted = await alice.repository("alice/app").request("DELETE", "manifests/v1")
    deleted.expect(202)
    found = await read(alice)
    assert kinds(found)[-2:] == ["image.pushed", "tag.deleted"]
    image = found[-2]
    assert image["digest"] == digest
    assert (image["actor"], image["namespace"], image["repository"], image["reference"]) == (
        "alice",
        "alice",
        "alice/app",
        "v1",
    )
    assert image["payload"]["size"] > 0
    assert image["at"].endswith("Z")
    numbers = [each["sequence"] for each in found]
    assert numbers == sorted(set(numbers))


async def test_everybody_is_shown_what_is_theirs_and_what_they_may_pull(
    registry: Running, root: Client, alice: Client, bob: Client, anybody: Client
) -> None:
    await pushed(alice, "alice/app")
    await pushed(alice, "alice/tools")
    database = registry.parts.database
    await database.repositories.set_public("alice/tools", public=True, now=0.0, actor=ACTOR)
    assert {each["repository"] for each in await read(bob)} <= {"alice/tools", None}
    (image,) = [each for each in await read(bob) if each["repository"]]
    assert (image["kind"], image["actor"]) == ("image.pushed", None)
    everything = await read(root)
    assert {each["namespace"] for each in everything} >= {"alice", "root"}
    problem(await ask(anybody, "GET", PATH), 401, "credentials")
    await database.repositories.delete("alice/tools", actor=ACTOR)
    assert [each for each in await read(bob) if each["repository"]] == []
    assert kinds(await read(alice, "repository=alice/tools"))[-1] == "repository.deleted"
    await pushed(alice, "alice/tools")  # another one, and private
    assert [each for each in await read(bob) if each["repository"]] == []
    await database.repositories.set_public("alice/tools", public=True, now=0.0, actor=ACTOR)
    shown = [each for each in await read(bob) if each["repository"]]
    assert len(shown) == 1, "of the repository before nothing is shown"


async def test_filters(alice: Client) -> None:
    await pushed(alice, "alice/app")
    await pushed(alice, "alice/tools")
    assert kinds(await read(alice, "kind=image.*")) == ["image.pushed"] * 2
    assert kinds(await read(alice, "kind=repository.*,token.*")) == ["repository.created"] * 2
    (one,) = await read(alice, "kind=image.pushed&repository=*/tools")
    assert one["repository"] == "alice/tools"
    assert await read(alice, "namespace=bob") == []


async def test_tokens(registry: Running, alice: Client) -> None:
    await pushed(alice, "alice/app")
    await pushed(alice, "alice/tools")
    right = Client(
        alice.session, alice.url, "alice", await token(registry, "alice", TokenScope.EVENTS)
    )
    assert len(await read(right, "kind=image.pushed")) == 2
    other = Client(
        alice.session, alice.url, "alice", await token(registry, "alice", TokenScope.API)
    )
    assert "--allow events" in problem(await ask(other, "GET", PATH), 403, "forbidden")["detail"]


REFUSED: Final = (
    ("?n=0", "page"),
    ("?n=x", "page"),
    ("?after=x", "page"),
    ("?after=MS54", "page"),
    ("?after=%ff", "request"),
    ("?after=" + "M" * 100, "page"),
    ("?follow=maybe", "request"),
    ("?follow=1&n=2", "request"),
    ("?kind=" + ",".join("a" * 17), "request"),
    ("?repository=" + "a" * 256, "request"),
    ("?since=1", "request"),
)


async def test_requests_that_do_not_fit(alice: Client) -> None:
    for query, name in REFUSED:
        assert problem(await ask(alice, "GET", PATH + query), 400, name), query


async def test_json_lines_as_it_happens(alice: Client, bob: Client) -> None:
    async with following(alice) as stream, following(bob) as other:
        assert stream.response.headers["Content-Type"] == "application/x-ndjson"
        await pushed(alice, "alice/app")
        await pushed(bob, "bob/app")
        assert (await stream.event())["kind"] == "repository.created"
        assert (await stream.event())["reference"] == "v1"
        assert (await other.event())["repository"] == "bob/app"


async def test_server_sent_events_go_on_where_they_were(alice: Client) -> None:
    await pushed(alice, "alice/app", "before")
    async with following(alice, "kind=image.*", Accept="text/event-stream") as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert await stream.line() == ": follow\n"
        assert await stream.line() == "\n"
        await pushed(alice, "alice/app", "v1")
        last = (await stream.line()).removeprefix("id: ").strip()
        assert await stream.line() == "event: image.pushed\n"
        assert (await stream.event())["reference"] == "v1"
    await pushed(alice, "alice/app", "v2")
    again = {"Accept": "text/event-stream", "Last_Event_ID": last}
    async with following(alice, "kind=image.*", **again) as stream:
        assert (await stream.event())["reference"] == "v2"
    async with following(alice, "kind=image.*&after=oldest&follow=1") as stream:
        assert [(await stream.event())["reference"] for _ in range(3)] == ["before", "v1", "v2"]


async def test_what_is_pruned_leaves_a_gap(registry: Running, alice: Client) -> None:
    await pushed(alice, "alice/app")
    page = (await ask(alice, "GET", f"{PATH}?n=1")).json
    connections = registry.parts.database.connections
    await connections.change(events_table.delete())
    gone = (await ask(alice, "GET", f"{PATH}?after={page['next']}")).json
    assert (gone["events"], gone["gap"], gone["more"]) == ([], True, False)
    assert not (await ask(alice, "GET", f"{PATH}?after=oldest")).json["gap"]
    async with following(alice, f"follow=1&after={page['next']}") as stream:
        assert json.loads(await stream.line())["kind"] == "gap"
        await pushed(alice, "alice/app", "v2")
        assert (await stream.event())["reference"] == "v2"


async def test_a_right_that_ends_ends_the_stream(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEAT_SECONDS", 0.05)
    text = await token(registry, "alice", TokenScope.EVENTS)
    one = with_token(alice, text)
    async with following(one) as stream:
        assert json.loads(await stream.line())["kind"] == "heartbeat"
        (mine,) = await registry.parts.database.access_tokens.list("alice")
        await registry.parts.accounts.revoke_token(mine.token_id, actor=ACTOR)
        await registry.parts.tokens.refresh()
        async with asyncio.timeout(SECONDS_MAX):
            while await stream.line():
                pass
    problem(await ask(one, "GET", PATH), 401, "credentials")


async def test_too_many_followers_are_sent_away(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.live, "_followers_max", 1)
    async with following(alice):
        answer = await ask(alice, "GET", f"{PATH}?follow=1")
        problem(answer, 429, "too-many")
        assert answer.headers["Retry-After"] == str(live.RETRY_SECONDS)
        (await ask(alice, "GET", PATH)).expect(200)


async def test_who_goes_makes_room_at_once(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.live, "_followers_max", 1)
    for _ in range(3):
        async with following(alice):
            problem(await ask(alice, "GET", f"{PATH}?follow=1"), 429, "too-many")
        async with asyncio.timeout(events.BEAT_SECONDS / 3):  # by then nothing was to be sent
            while registry.live.followers:  # noqa: ASYNC110  it is polled
                await asyncio.sleep(0.01)


async def test_who_goes_before_it_begins_is_no_fault(
    registry: Running, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, found = asyncio.Event(), asyncio.Event()
    kept_after = registry.live._kept_after

    async def slowly(after: int, page: Sequence[Recorded]) -> int:
        asked.set()
        await found.wait()
        return await kept_after(after, page)

    async def follow() -> None:
        async with following(alice):
            pytest.fail("it has begun")

    monkeypatch.setattr(registry.live, "_kept_after", slowly)
    with capture_logs() as logs:
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
            follower = group.create_task(follow())
            await asked.wait()
            follower.cancel()
            await asyncio.wait([follower])
            await asyncio.sleep(GONE_SECONDS)
            found.set()
            while registry.live.followers:  # noqa: ASYNC110  it is polled
                await asyncio.sleep(0.01)
    assert "stream.ended" in [each["event"] for each in logs]
    assert [each for each in logs if each["log_level"] == "error"] == []


async def test_streams_end_with_the_server(registry: Running, alice: Client) -> None:
    async with following(alice) as stream:
        registry.live.close()
        assert await stream.line() == ""
        problem(await ask(alice, "GET", f"{PATH}?follow=1"), 503, "unavailable")


async def test_head(alice: Client) -> None:
    for query in ("", "?follow=1"):
        answer: Answer = await ask(alice, "HEAD", PATH + query)
        assert (answer.status, answer.body) == (200, b"")
