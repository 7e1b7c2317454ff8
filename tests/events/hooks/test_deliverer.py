"""The deliverer, with a real database and real receivers, but no waiting for hours."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.contracts.metadata_hooks import add
from tests.events.hooks.told import EVENT, HOOK
from tests.outbound.test_client import HERE, serving
from tests.outbounds import outbound
from tests.registry.test_hooks import TRICKS
from tests.templates import empty_database
from treescale.clock import SystemClock
from treescale.errors import DatabaseUnavailable
from treescale.events.hooks import deliverer as under_test
from treescale.events.hooks import schedule
from treescale.events.hooks.deliverer import ANSWER_BYTES_MAX, Deliverer, printable
from treescale.events.hooks.planner import planned
from treescale.events.hooks.schedule import AT_ONCE_OF_A_HOOK, FAILING_SECONDS_MAX
from treescale.metadata.database import Database, opened
from treescale.metadata.events.hook_records import (
    HOOKS_SETTING,
    Delivery,
    DeliveryState,
    Hook,
    HookState,
)
from treescale.metadata.events.recording import Event, Kind, record_all
from treescale.metrics.meters import Sent
from treescale.outbound import client as outbound_client
from treescale.outbound.answers import Limits
from treescale.outbound.networks import Networks

WAIT_SECONDS: Final = 10.0
SERVER: Final = "server:s1"


@dataclass
class Receiver:
    """What receives; `answer` is its status, or what it does."""

    answer: int | Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, str]] = field(default_factory=list)
    """Of each request the repository and the webhook-id."""
    at_once: int = 0
    most: int = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            body = await request.text()
            self.got.append((body, request.headers["webhook-id"]))
            if callable(self.answer):
                return await self.answer(request)
            return web.Response(status=self.answer, text="thank you", headers=self.headers)
        finally:
            self.at_once -= 1


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(empty_database(tmp_path / "treescale.db")) as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(under_test, "IDLE_SECONDS", 0.01)


def deliverer(
    database: Database,
    networks: Networks = HERE,
    limits: Limits | None = None,
    on_sent: Callable[[Sent], None] = lambda _: None,
) -> Deliverer:
    found = limits or Limits(5.0, ANSWER_BYTES_MAX, cut=True)
    client = outbound().client(networks, found)

    async def get() -> Any:
        return client

    return Deliverer(
        database,
        client=get,
        actor=SERVER,
        clock=SystemClock(),
        chance=lambda: 0.0,
        on_sent=on_sent,
    )


@asynccontextmanager
async def running(one: Deliverer) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def hook_at(database: Database, port: int, **changes: Any) -> Hook:
    url = f"http://127.0.0.1:{port}/in"
    hook = replace(HOOK, url=url, sequence=await database.event_log.last(), **changes)
    await add(database, hook)
    return hook


async def pushed(database: Database, *tags: str, repository: str = "alice/app") -> list[str]:
    """Record pushes, and have them numbered; return their ids."""
    events = [
        Event(Kind.IMAGE_PUSHED, "alice", repository, reference=tag, digest="sha256:1")
        for tag in tags
    ]
    await database.connections.write(lambda connection: record_all(connection, events))
    await database.event_log.number()
    return [one.event_id for one in events]


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await found():  # noqa: ASYNC110  what is waited for is a row
            await asyncio.sleep(0.01)


async def settled(database: Database, count: int, hook: str = "h1") -> list[Delivery]:
    """Wait until so many deliveries are over; return them, oldest first."""
    over: list[Delivery] = []

    async def look() -> bool:
        over[:] = [
            one
            for one in await database.hooks.history(hook, 500)
            if one.state is not DeliveryState.WAITING
        ]
        return len(over) >= count

    await until(look)
    return over[::-1]


async def hurry(database: Database) -> None:
    """Let what waits for another attempt be due."""
    due = text("UPDATE deliveries SET next_at = 0 WHERE state = 'waiting' AND attempt > 0")
    await database.connections.change(due)


async def test_what_happens_is_told_once_and_in_order(database: Database) -> None:
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            ids = await pushed(database, *map(str, range(10)))
            done = await settled(database, 10)
            assert [one.event_id for one in done] == ids
    assert [webhook_id for _, webhook_id in receiver.got] == ids
    assert receiver.most == 1
    assert {one.status for one in done} == {200}


async def test_what_is_pruned_before_it_was_planned_is_logged(database: Database) -> None:
    async with serving(Receiver().handle) as port:
        await hook_at(database, port)
        await pushed(database, "0")
        await database.settings.put(HOOKS_SETTING, "off")
        await pushed(database, "1", "2", "3")
        await database.event_log.remove_all_but(1)
        await database.settings.put(HOOKS_SETTING, "on")
        with capture_logs() as lines:
            async with running(deliverer(database)):
                await settled(database, 1)
    told = {(one["event"], one["hook"]) for one in lines}
    assert told == {("hook.gap", "h1")}


async def test_when_the_log_goes_back_what_has_the_numbers_now_is_told(database: Database) -> None:
    """As after a fail-over to a standby that lagged: what was passed is looked at anew."""
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        one = deliverer(database)
        async with running(one):
            await passed(database, 5)
            await until(partial(_has_passed, one, 5))
            lost = text("DELETE FROM events WHERE actor = 'passed'")
            await database.connections.change(lost)
            number = text("UPDATE counters SET value = value - 5 WHERE name = 'events'")
            await database.connections.change(number)
            ids = await pushed(database, *map(str, range(6)))
            await settled(database, 6)
    assert [webhook_id for _, webhook_id in receiver.got] == ids


async def passed(database: Database, count: int) -> None:
    """Record what the hook is not told of."""
    events = [Event(Kind.USER_CREATED, "passed", namespace="alice") for _ in range(count)]
    await database.connections.write(lambda connection: record_all(connection, events))


async def _has_passed(one: Deliverer, count: int) -> bool:
    return any(place.sequence >= count for place in one._passed.values())


async def test_what_happened_before_the_hook_is_not_told(database: Database) -> None:
    receiver = Receiver()
    await pushed(database, "before")
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            after = await pushed(database, "after")
            await settled(database, 1)
    assert [webhook_id for _, webhook_id in receiver.got] == after


async def test_repositories_are_told_of_side_by_side_and_few_at_a_time(
    database: Database,
) -> None:
    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response()

    receiver = Receiver(slow)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            for n in range(8):
                await pushed(database, "a", "b", repository=f"alice/app{n}")
            await settled(database, 16)
    assert receiver.most == AT_ONCE_OF_A_HOOK


async def test_a_receiver_that_is_down_hears_later_with_the_same_id(database: Database) -> None:
    receiver, counted = Receiver(503), list[Sent]()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database, on_sent=counted.append)):
            ids = await pushed(database, "1", "2")
            await until(lambda: _tried(database, 1))
            assert receiver.got == receiver.got[:1]  # the second waits for the first
            receiver.answer = 200
            await hurry(database)
            done = await settled(database, 2)
    assert [one.attempt for one in done] == [2, 1]
    assert counted == [Sent.RETRIED, Sent.DELIVERED, Sent.DELIVERED]
    assert [webhook_id for _, webhook_id in receiver.got] == [ids[0], *ids]
    assert (await database.hooks.get("h1")).failing_since is None


async def _tried(database: Database, count: int, hook: str = "h1") -> bool:
    return sum(one.attempt for one in await database.hooks.history(hook, 9)) >= count


async def test_a_receiver_that_refuses_is_not_asked_again_and_the_next_is_told(
    database: Database,
) -> None:
    receiver = Receiver(422)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1", "2")
            done = await settled(database, 2)
    assert [one.state for one in done] == [DeliveryState.FAILED] * 2
    assert len(receiver.got) == 2


async def test_redirects_are_not_followed(database: Database) -> None:
    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"http://{request.host}/other"})

    receiver = Receiver(elsewhere)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1")
            await until(lambda: _tried(database, 1))
    (one,) = await database.hooks.history("h1", 9)
    assert (one.status, one.state, len(receiver.got)) == (302, DeliveryState.WAITING, 1)


async def test_one_receiver_that_hangs_delays_no_other(database: Database) -> None:
    asleep = asyncio.Event()

    async def hangs(_: web.BaseRequest) -> web.StreamResponse:
        await asleep.wait()
        return web.Response()

    poisoned, well = Receiver(hangs), Receiver()
    async with serving(poisoned.handle) as bad, serving(well.handle) as good:
        await hook_at(database, bad, hook_id="h0")
        await hook_at(database, good)
        async with running(deliverer(database)):
            for n in range(50):
                await pushed(database, "1", repository=f"alice/app{n}")
            await settled(database, 50)
            assert poisoned.at_once <= AT_ONCE_OF_A_HOOK
        asleep.set()


async def test_410_disables_a_hook_with_an_event(database: Database) -> None:
    receiver = Receiver(410)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1", "2")
            await settled(database, 1)
            await asyncio.sleep(0.1)
    assert len(receiver.got) == 1
    assert (await database.hooks.get("h1")).state is HookState.DISABLED
    await database.event_log.number()
    (event,) = [e for e in await database.event_log.after(0, 99) if e.kind == "hook.disabled"]
    assert (event.actor, event.namespace) == (SERVER, "alice")
    assert event.payload["reason"]


async def test_days_without_an_answer_disable_a_hook_with_an_event(database: Database) -> None:
    async with serving(Receiver(500).handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1")
            await until(lambda: _tried(database, 1))
        age = {"s": FAILING_SECONDS_MAX}
        for change in (
            "UPDATE hooks SET failing_since = failing_since - :s",
            "UPDATE deliveries SET created = created - :s, next_at = 0",
        ):
            await database.connections.change(text(change), age)
        async with running(deliverer(database)):
            (one,) = await settled(database, 1)
    assert one.state is DeliveryState.FAILED
    assert (await database.hooks.get("h1")).reason == "nothing was taken for 3 days"


async def test_whoever_comes_after_one_that_was_killed_sends_the_same(
    database: Database,
) -> None:
    """A process that ends while it waits for an answer leaves the delivery where it was."""
    asked, never = asyncio.Event(), asyncio.Event()

    async def hangs(_: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await never.wait()
        return web.Response()

    receiver = Receiver(hangs)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            (event_id,) = await pushed(database, "1")
            async with asyncio.timeout(WAIT_SECONDS):
                await asked.wait()
        receiver.answer = 200
        async with running(deliverer(database)):
            (one,) = await settled(database, 1)
        never.set()
    assert one.state is DeliveryState.DELIVERED
    assert [webhook_id for _, webhook_id in receiver.got] == [event_id] * 2


async def test_a_burst_is_sent_as_its_last(database: Database) -> None:
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port, settle=0.2)
        async with running(deliverer(database)):
            ids = await pushed(database, "1", "2", "3")
            await settled(database, 3)
    assert [webhook_id for _, webhook_id in receiver.got] == [ids[-1]]


async def test_nothing_is_planned_or_sent_while_hooks_are_off(database: Database) -> None:
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        for value in ("off", "paused"):
            await database.settings.put(HOOKS_SETTING, value)
            async with running(deliverer(database)):
                await pushed(database, value)
                await asyncio.sleep(0.1)
            assert receiver.got == []
        await database.settings.put(HOOKS_SETTING, "on")
        async with running(deliverer(database)):
            await settled(database, 2)  # control: else both are told


async def test_of_a_private_receiver_s_answer_nobody_sees_more_than_the_status(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Receiver(200).handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1")
            (one,) = await settled(database, 1)
            assert (one.status, one.answer) == (200, "")
            assert one.seconds is not None
            monkeypatch.setattr(outbound_client, "is_public", lambda _: True)  # control
            await pushed(database, "2")
            _, two = await settled(database, 2)
            assert two.answer == "thank you"


async def test_a_long_answer_is_cut_and_is_no_failure(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def long(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"\x00\x1b[31m" + b"x" * 10_000_000)

    monkeypatch.setattr(outbound_client, "is_public", lambda _: True)
    async with serving(Receiver(long).handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database)):
            await pushed(database, "1")
            (one,) = await settled(database, 1)
    assert one.state is DeliveryState.DELIVERED
    assert len(one.answer) == ANSWER_BYTES_MAX
    assert one.answer.startswith("??[31m")


async def test_an_address_that_is_not_asked_is_an_attempt_like_any_other(
    database: Database,
) -> None:
    async with serving(Receiver().handle) as port:
        await hook_at(database, port)
        async with running(deliverer(database, Networks())):
            await pushed(database, "1")
            await until(lambda: _tried(database, 1))
    (one,) = await database.hooks.history("h1", 9)
    assert (one.status, one.state) == (None, DeliveryState.WAITING)
    assert "the server itself" in one.answer


async def test_a_database_that_is_away_ends_the_run_with_what_it_says(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> list[Hook]:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(database.hooks, "enabled", away)
    with pytest.raises(DatabaseUnavailable):
        await deliverer(database).run()


async def test_hooks_at_one_place_read_the_log_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: dict[int, int] = defaultdict(int)
    real = database.event_log.after

    async def counted(sequence: int, limit: int) -> Any:
        reads[sequence] += 1
        return await real(sequence, limit)

    monkeypatch.setattr(database.event_log, "after", counted)
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        for n in range(5):
            await hook_at(database, port, hook_id=f"h{n}")
        one = deliverer(database)
        async with asyncio.TaskGroup() as group:
            await one.turn(group)  # from now on they are at one place
            await pushed(database, "1")
            reads.clear()
            await one.turn(group)
    assert len(receiver.got) == 5
    assert [*reads.values()] == [1]


def test_an_answer_is_text_whatever_it_is() -> None:
    assert printable(b"ok\n\xff\x00") == "ok\n\ufffd?"


async def test_no_trick_leads_a_delivery_where_nothing_may_be_asked(database: Database) -> None:
    """Rows as they are, past the checks of whoever makes a hook: the socket decides."""
    hook = replace(HOOK, sequence=0)
    for number, url in enumerate(TRICKS):
        await add(database, replace(hook, hook_id=f"t{number}", url=url))
        await database.hooks.send(f"t{number}", planned(EVENT))
    async with running(deliverer(database, Networks())):
        for number, url in enumerate(TRICKS):
            await until(partial(_tried, database, 1, f"t{number}"))
            (one,) = await database.hooks.history(f"t{number}", 9)
            assert (one.status, one.state) == (None, DeliveryState.WAITING), url
            assert one.answer


async def test_nothing_secret_is_logged_or_kept(database: Database) -> None:
    async with serving(Receiver(404).handle) as port:
        await hook_at(database, port, headers=(("X-Token", "hidden-token"),))
        hidden = {"u": f"http://127.0.0.1:{port}/in?secret=hidden-query"}
        await database.connections.change(text("UPDATE hooks SET url = :u"), hidden)
        with capture_logs() as lines:
            async with running(deliverer(database)):
                await pushed(database, "1")
                (one,) = await settled(database, 1)
                async with asyncio.timeout(WAIT_SECONDS):
                    while not lines:  # noqa: ASYNC110  a line is what is waited for
                        await asyncio.sleep(0.01)
    assert [line["event"] for line in lines] == ["hook.undelivered"]
    for secret in ("hidden", HOOK.secret):
        assert secret not in f"{lines} {one}"


async def test_what_a_hook_is_not_told_of_costs_no_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        hook = await hook_at(database, port)
        one = deliverer(database)
        async with asyncio.TaskGroup() as group:
            await one.turn(group)
            await pushed(database, *map(str, range(9)), repository="bob/app")
            await one.turn(group)
            assert (await database.hooks.get("h1")).sequence == hook.sequence
            await pushed(database, "1")
            await one.turn(group)
            assert (await database.hooks.get("h1")).sequence == await database.event_log.last()
            monkeypatch.setattr(under_test, "READ_AT_ONCE", 5)  # and after so many it is written
            await pushed(database, *map(str, range(5)), repository="bob/app")
            await one.turn(group)
            assert (await database.hooks.get("h1")).sequence == await database.event_log.last()
    assert len(receiver.got) == 1


async def test_a_row_that_cannot_be_read_is_given_up_and_holds_up_nobody(
    database: Database,
) -> None:
    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        await database.hooks.send("h1", replace(planned(EVENT), event="{}"))
        await database.hooks.send("h1", planned(EVENT))
        async with running(deliverer(database)):
            bad, good = await settled(database, 2)
    assert (bad.state, good.state) == (DeliveryState.FAILED, DeliveryState.DELIVERED)
    assert len(receiver.got) == 1


async def test_control_who_does_not_wait_for_an_earlier_one_tells_in_another_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "HELD_BACK_SECONDS_MAX", 0.0)

    async def not_the_first(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=503 if request.headers["webhook-id"] == ids[0] else 200)

    receiver = Receiver(not_the_first)
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        ids = await pushed(database, "1", "2")
        async with running(deliverer(database)):
            (one,) = await settled(database, 1)
    assert one.event_id == ids[1]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("place_first", [False, True])
async def test_a_process_that_ends_as_it_plans_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, place_first: bool
) -> None:
    """And the control: a place that is written before what is planned loses an event."""
    real = database.hooks.plan

    async def killed(hook: Hook, _: Any, last: int, **more: Any) -> bool:
        if place_first:
            await real(hook, [], last, **more)
        raise Killed

    receiver = Receiver()
    async with serving(receiver.handle) as port:
        await hook_at(database, port)
        (event_id,) = await pushed(database, "1")
        hooks = await database.hooks.enabled()
        with monkeypatch.context() as patched:
            patched.setattr(database.hooks, "plan", killed)
            with pytest.raises(Killed):
                await deliverer(database)._plan(hooks)
        async with running(deliverer(database)):
            await pushed(database, "2")
            await settled(database, 1 if place_first else 2)
    assert (event_id in {webhook_id for _, webhook_id in receiver.got}) is not place_first
