"""The cluster's page: in words whether all is whole, for administrators, and as it happens."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.web.browser import Browser
from tests.console.web.operator.conftest import SERVERS, STORES, Seen
from tests.console.web.operator.stream import parts_of
from tests.contracts.metadata_values import ACTOR
from treescale.cluster.liveness import LIVE_SECONDS
from treescale.console.web.operator.following import BEAT_SECONDS
from treescale.metadata.records import StoreWalk

CLUSTER = "/-/cluster"
LIVE = f"{CLUSTER}/live"
HOSTILE = "<script>alert(1)</script>"


async def test_it_says_that_all_is_whole(administrator: Browser) -> None:
    words = (await administrator.get(CLUSTER)).expect(200).words
    assert "Everything is whole: each of the 4,096 partitions has its 2 copies." in words
    for told in ("As one sees it", "3 MB/s", "40 %", "600 GB free", "all 2 4,096", "0.2.0"):
        assert told in words
    assert "verify: all is there" in words
    assert "Nothing is lost." in words


async def test_it_is_for_administrators(
    browser: Browser, other: Browser, alice: Client, administrator: Browser
) -> None:
    await other.sign_in("alice", alice.password)
    stranger = Browser(browser.session, browser.url)
    for path in (CLUSTER, LIVE, f"{CLUSTER}/work/verify", f"{CLUSTER}/read-only"):
        assert (await stranger.get(path)).expect(303).location.startswith("/-/sign-in")
        assert "for administrators" in (await other.get(path)).expect(403).words
    (await administrator.get(f"{CLUSTER}/work/nothing")).expect(404)


async def test_a_server_that_is_not_reached_is_seen_at_once_and_when_it_is_back(
    administrator: Browser, seen: Seen
) -> None:
    async with parts_of(administrator, LIVE) as parts:
        await parts.until("cluster-verdict", "Everything is whole")
        seen.peers[SERVERS["two"]] = False
        told = await parts.until("cluster-verdict", "two does not answer.")
        assert "Pulls go on" in told
        assert "Not whole since" in told
        assert "✕" in await parts.until("cluster-servers", "silent")
        strip = await parts.until("cluster-strip", 'class="fewer"')
        assert "one alone" in strip
        seen.peers[SERVERS["two"]] = True
        assert "Whole again since" in await parts.until("cluster-verdict", "Everything is whole")
    assert "Whole again since" in (await administrator.get(CLUSTER)).words


async def test_what_does_not_change_is_not_sent_again(administrator: Browser, seen: Seen) -> None:
    async with parts_of(administrator, LIVE) as parts:
        await parts.until("cluster-events", "server.registered")
        await parts.quiet(1.0)
        assert await parts.quiet(3.0) == 0
        seen.peers[SERVERS["three"]] = False
        assert await parts.quiet(3.0) > 0  # else nothing would have been sent at all


async def test_the_database_is_asked_only_while_somebody_looks(
    administrator: Browser, registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, asked = registry.parts.database, list[str]()
    list_walks = database.walks.list

    async def counted() -> list[StoreWalk]:
        asked.append("walks")
        return await list_walks()

    monkeypatch.setattr(database.walks, "list", counted)
    async with (
        parts_of(administrator, LIVE) as first,
        parts_of(administrator, LIVE) as second,
        parts_of(administrator, LIVE) as third,
    ):
        for parts in (first, second, third):
            await parts.until("cluster-verdict", "Everything is whole")
        asked.clear()
        await first.quiet(4.5)
        assert 1 <= len(asked) <= 4  # every 2 s for all three together, and once in 10 s more
    await asyncio.sleep(2 * BEAT_SECONDS)
    asked.clear()
    await asyncio.sleep(3.0)
    assert asked == []


async def test_walks_events_and_hostile_names_are_shown(
    administrator: Browser, registry: Running
) -> None:
    database = registry.parts.database
    now = await database.servers.now()
    await database.walks.put(
        StoreWalk(STORES["two"], 1, 7, 1234, 5, rate=2_000_000, looked=now, verified=now)
    )
    (row, *_) = [one for one in await database.servers.list() if one.name == "three"]
    renamed = replace(row, name=HOSTILE, version=HOSTILE)
    await database.servers.register(renamed, live_seconds=LIVE_SECONDS, actor=ACTOR)
    page = (await administrator.get(CLUSTER)).expect(200)
    assert "1,234 missing, 5 misplaced, 7 to be looked at" in page.words
    assert "1,234 copies are still to be made." in page.words
    assert "2 MB/s" in page.words
    assert "layout.changed" in page.words
    assert HOSTILE not in page.text
    assert "&lt;script&gt;" in page.text


async def test_it_ends_as_the_server_does(administrator: Browser, registry: Running) -> None:
    async with parts_of(administrator, LIVE) as parts:
        await parts.until("cluster-verdict", "Everything is whole")
        registry.live.close()
        with pytest.raises((AssertionError, aiohttp.ClientPayloadError)):
            await parts.quiet(5.0)
    assert (await administrator.get(LIVE)).status == 503
