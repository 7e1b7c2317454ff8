"""What the deliverer has room for is shared, and nobody takes that of others."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from aiohttp import web
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.events.hooks.test_deliverer import (
    SERVER,
    Receiver,
    _quick,
    _tried,
    database,
    deliverer,
    hook_at,
    hurry,
    pushed,
    running,
    settled,
    until,
)
from tests.events.hooks.told import EVENT, HOOK
from tests.outbound.test_client import serving
from treescale.clock import SystemClock
from treescale.events.hooks import deliverer as under_test
from treescale.events.hooks import schedule
from treescale.events.hooks.deliverer import Deliverer
from treescale.events.hooks.planner import planned
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import PING, DeliveryState, NewDelivery
from treescale.outbound.answers import Answer

__all__ = ["_quick", "database"]  # fixtures


async def test_a_namespace_of_receivers_that_hang_delays_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hooks are many, their ids come first, and something of each is always due."""
    monkeypatch.setattr(schedule, "AT_ONCE", 8)
    monkeypatch.setattr(schedule, "AT_ONCE_OF_A_NAMESPACE", 6)
    asleep = asyncio.Event()

    async def hangs(_: web.BaseRequest) -> web.StreamResponse:
        await asleep.wait()
        return web.Response()

    poisoned, well = Receiver(hangs), Receiver()
    async with serving(poisoned.handle) as bad, serving(well.handle) as good:
        for n in range(4):
            await hook_at(database, bad, hook_id=f"h0{n}", namespace="eve", scope="eve")
        await hook_at(database, good)
        async with running(deliverer(database)):
            for n in range(4):
                await pushed(database, "1", repository=f"eve/app{n}")
            await until(lambda: _are(poisoned, 6))
            await pushed(database, "1", "2")
            await settled(database, 2)
            assert poisoned.most == 6
        asleep.set()


async def _are(receiver: Receiver, count: int) -> bool:
    return receiver.at_once >= count


def test_room_is_for_whom_has_least_and_waited_longest(database: Database) -> None:
    one = deliverer(database)
    names = ("eve", "1"), ("eve", "2"), ("bob", "3"), ("alice", "4")
    hooks = [replace(HOOK, hook_id=each, namespace=name) for name, each in names]
    one._flights = {1: under_test._Flight(hooks[0], "eve/app")}
    one._served = {"1": 3, "3": 2}
    assert [hook.hook_id for hook in one._fairly(hooks)] == ["4", "3", "2", "1"]


async def test_what_waits_has_a_limit_and_the_log_keeps_the_rest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that is away for a day must not fill the database, and misses nothing by it."""
    monkeypatch.setattr(under_test, "FULL_SECONDS", 0.05)
    monkeypatch.setattr(
        database.hooks, "is_full", partial(type(database.hooks).is_full, database.hooks, most=3)
    )
    receiver = Receiver(503)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            ids = await pushed(database, "1", "2", "3")
            await until(lambda: _tried(database, 1))
            ids += await pushed(database, "4", "5")
            await asyncio.sleep(0.2)
            assert len(await database.hooks.history("h1", 9)) == 3
            receiver.answer = 200
            await hurry(database)
            done = await settled(database, 5)
    assert [one.event_id for one in done] == ids


async def test_an_answer_that_nobody_thought_of_ends_no_delivery_but_its_own(
    database: Database,
) -> None:
    class Client:
        async def ask(self, method: str, url: str, **more: Any) -> Any:
            if url.endswith("/bad"):
                raise RuntimeError(f"{method} {more}")
            return Answer(200, cast("Any", {}), b"")

    async def client() -> Any:
        return Client()

    one = Deliverer(database, client=client, actor=SERVER, clock=SystemClock(), chance=lambda: 0.0)
    await hook_at(database, 1, hook_id="h0")
    await database.connections.change(text("UPDATE hooks SET url = 'https://bad.example/bad'"))
    await hook_at(database, 1)
    with capture_logs() as lines:
        async with running(one):
            await pushed(database, "1")
            await settled(database, 1)
            await until(partial(_tried, database, 1, "h0"))
    (failed,) = await database.hooks.history("h0", 9)
    assert failed.state is DeliveryState.WAITING
    assert [(line["event"], line["hook"]) for line in lines] == [("hook.failed", "h0")]


async def test_a_receiver_that_asks_to_be_left_alone_is_sent_nothing_but_pings(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no repository: it says so of itself, not of one. Control: without `Retry-After` it is."""
    monkeypatch.setattr(schedule, "PAUSES_SECONDS", (30.0,))
    receiver = Receiver(429, headers={"Retry-After": "60"})
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        one = deliverer(database)
        async with running(one):
            await pushed(database, "1")
            await until(partial(_tried, database, 1))
            for n in range(5):
                await pushed(database, "1", repository=f"alice/other{n}")
            await until(partial(_has_planned, database, 6))
            await asyncio.sleep(0.1)  # several turns
            ping = await database.hooks.send("h1", NewDelivery("p", PING, "", _ping()))
            await until(partial(_is_over, database, ping))
            assert [webhook_id for _, webhook_id in receiver.got][1:] == ["p"]
            receiver.headers.clear()
            one._alone_until.clear()
            await until(partial(_has_got, receiver, 5))


async def _has_planned(database: Database, count: int) -> bool:
    return len(await database.hooks.history("h1", 9)) == count


def _ping() -> str:
    return planned(replace(EVENT, kind=PING, event_id="p", repository=None)).event


async def _is_over(database: Database, delivery_id: int) -> bool:
    return (await database.hooks.delivery(delivery_id)).state is not DeliveryState.WAITING


async def _has_got(receiver: Receiver, repositories: int) -> bool:
    told = {json.loads(body)["data"].get("repository") for body, _ in receiver.got}
    return len({name for name in told if name and "other" in name}) == repositories


async def test_places_are_written_before_what_is_passed_is_pruned(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes after takes nothing for a gap that was looked at. Control: not noted, it does."""
    for noted, gaps in ((0.0, 0), (9e9, 1)):
        monkeypatch.setattr(under_test, "NOTED_SECONDS", noted)
        hook_id = f"h{gaps}"
        await hook_at(database, 1, hook_id=hook_id)
        one = deliverer(database)
        async with asyncio.TaskGroup() as group:
            await pushed(database, *map(str, range(9)), repository="bob/app")
            await one.turn(group)
        await pushed(database, "last", repository="bob/app")
        await database.event_log.remove_all_but(1)
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                await deliverer(database).turn(group)
        found = [line for line in lines if (line["event"], line["hook"]) == ("hook.gap", hook_id)]
        assert len(found) == gaps
        await database.hooks.remove(hook_id, actor=SERVER)


async def test_of_many_hooks_each_is_told_of_what_is_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a namespace, and of everything; also where they are not read anew each time."""
    monkeypatch.setattr(under_test, "HOOKS_FEW", 0)
    monkeypatch.setattr(under_test, "HOOKS_READ_SHARE", 1e6)
    receivers = {name: Receiver() for name in ("alice", "bob", "every")}
    async with (
        serving(receivers["alice"].handle) as a,
        serving(receivers["bob"].handle) as b,
        serving(receivers["every"].handle) as c,
    ):
        await hook_at(database, a, hook_id="h1", scope="alice")
        await hook_at(database, b, hook_id="h2", namespace="bob", scope="bob")
        await hook_at(database, c, hook_id="h3", namespace=None, scope="*")
        async with running(deliverer(database)):
            first = await pushed(database, "1", "2", repository="alice/app")
            second = await pushed(database, "1", repository="bob/app")
            third = await pushed(database, "3", repository="alice/app")
            for hook_id, count in (("h1", 3), ("h2", 1), ("h3", 4)):
                await settled(database, count, hook_id)
    got = {name: {each for _, each in one.got} for name, one in receivers.items()}
    mine = {*first, *third}
    assert got == {"alice": mine, "bob": {*second}, "every": mine | {*second}}


async def test_one_that_was_disabled_since_it_was_read_is_told_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where hooks are not read anew each time. Control: one that was not is."""
    monkeypatch.setattr(under_test, "HOOKS_FEW", 0)
    monkeypatch.setattr(under_test, "HOOKS_READ_SHARE", 1e6)
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port, hook_id="h1")
        await hook_at(database, port, hook_id="h2")
        one = deliverer(database)
        async with running(one):
            await pushed(database, "1")
            await settled(database, 1)
            await settled(database, 1, "h2")
            await database.hooks.disable("h1", "for a test", actor=SERVER)
            await pushed(database, "2")
            await settled(database, 2, "h2")
    assert len(await database.hooks.history("h1", 9)) == 1
    assert len(receiver.got) == 3
