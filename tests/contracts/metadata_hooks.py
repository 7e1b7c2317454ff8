"""What `Hooks` promises: each event planned once, order in a repository, nobody held for long."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import pytest
from sqlalchemy import text

from tests.contracts.metadata_races import race
from tests.contracts.metadata_values import ACTOR, NOW, access_token, user
from treescale.errors import HookUnknown, NamespaceUnknown, TooMany
from treescale.metadata.accounts import GET_USER
from treescale.metadata.database import Database
from treescale.metadata.events import hooks
from treescale.metadata.events.figures import EventFigures, event_figures
from treescale.metadata.events.hook_records import (
    PING,
    Delivery,
    DeliveryState,
    Hook,
    HookFormat,
    HookState,
    NewDelivery,
    Outcome,
)
from treescale.metadata.events.positions import Positions
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.schema import users

HELD_BACK: Final = 300.0
HOOK: Final = Hook(
    "h1",
    "alice",
    "alice/*",
    "https://hooks.example.com/in?secret=x",
    HookFormat.HARBOR,
    "whsec_AAAA",
    "https://registry.example.com",
    ("image.*", "tag.moved"),
    headers=(("X-A", "1"), ("X-B", "2")),
    template="",
    settle=2.0,
    sequence=7,
)
DONE: Final = Outcome(DeliveryState.DELIVERED, status=200, answer="ok", seconds=0.5)
AGAIN: Final = Outcome(DeliveryState.WAITING, 3600.0, status=503)
OVER: Final = Outcome(DeliveryState.FAILED, status=404)


def new(event_id: str, repository: str = "alice/app", **changes: object) -> NewDelivery:
    one = NewDelivery(event_id, "image.pushed", repository, '{"sequence":1}')
    return replace(one, **changes)  # type: ignore[arg-type]  # a test's names are right


async def due(
    database: Database, in_flight: Iterable[int] = (), hook: str = "h1", limit: int = 99
) -> list[Delivery]:
    found = await database.hooks.due(hook, limit, held_back=HELD_BACK, in_flight=in_flight)
    assert all(waited >= 0 for _, waited in found)
    return [delivery for delivery, _ in found]


async def ids(database: Database) -> list[str]:
    return [one.event_id for one in await due(database)]


async def planned(database: Database, *those: NewDelivery, wait: float = 0.0) -> list[Delivery]:
    hook = await database.hooks.get("h1")
    assert await database.hooks.plan(hook, those, hook.sequence + 1, wait=lambda own, _: own + wait)
    return await due(database)


async def made_older(database: Database, seconds: float) -> None:
    """Let so much time have passed for all deliveries."""
    shift = text("UPDATE deliveries SET created = created - :s, next_at = next_at - :s")
    await database.connections.change(shift, {"s": seconds})


async def add(database: Database, hook: Hook) -> None:
    """Add a hook, and the user whose namespace it is of."""
    if hook.namespace is not None:
        who = {"name": hook.namespace, "password_hash": "", "admin": False, "created": NOW}
        found = await database.connections.row(GET_USER, {"this": hook.namespace})
        if found is None:
            await database.connections.change(users.insert(), who)
    await database.hooks.add(hook, actor=ACTOR)


class HooksContract:
    """Subclass with fixtures `database` and `other`."""

    async def test_what_no_database_takes_as_an_id_is_unknown(self, database: Database) -> None:
        for hook_id in ("\x00", "h1\x00", "é" * 1000):
            with pytest.raises(HookUnknown):
                await database.hooks.get(hook_id)

    async def test_so_many_wait_and_no_more(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await add(database, HOOK)
        monkeypatch.setattr(hooks, "WAITING_MAX", 2)
        for number in range(2):
            assert not await database.hooks.is_full("h1", 2)
            await database.hooks.send("h1", new(f"e{number}"))
        assert await database.hooks.is_full("h1", 2)
        with pytest.raises(TooMany):
            await database.hooks.send("h1", new("e2"))
        (one, *_) = await due(database)
        await database.hooks.tried(one, DONE, actor=ACTOR)
        await database.hooks.send("h1", new("e2"))

    async def test_all_hooks_are_pruned_however_many_there_are(self, database: Database) -> None:
        for number in range(4):
            await add(database, replace(HOOK, hook_id=f"h{number}"))
        last = "h3"
        for number in range(3):
            await database.hooks.send(last, new(f"e{number}", f"alice/{number}"))
        for one in await due(database, hook=last):
            await database.hooks.tried(one, DONE, actor=ACTOR)
        left = [len(await database.hooks.history(last, 9))]
        while await database.hooks.prune(9e9, 1, 2):
            left.append(len(await database.hooks.history(last, 9)))
        assert left == [3, 1]

    async def test_those_that_are_asked_are_read_in_pages(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hooks, "READ_AT_ONCE", 2)
        expected = [f"h{number}" for number in range(5)]
        for hook_id in expected:
            await add(database, replace(HOOK, hook_id=hook_id))
        assert [one.hook_id for one in await database.hooks.enabled()] == expected
        await database.hooks.disable("h1", "for a test", actor=ACTOR)
        found = [one.hook_id for one in await database.hooks.enabled()]
        assert found == ["h0", "h2", "h3", "h4"]

    async def test_places_of_many_are_written_together(self, database: Database) -> None:
        """Never back, and of none that is disabled."""
        for hook_id, place in (("h1", 7), ("h2", 99), ("h3", 7), ("h4", 7)):
            await add(database, replace(HOOK, hook_id=hook_id, sequence=place))
        await database.hooks.disable("h3", "for a test", actor=ACTOR)
        await database.hooks.pass_by(["h1", "h2", "h3"], 50)
        found = {one.hook_id: one.sequence for one in await database.hooks.page(None, "", 9)}
        assert found == {"h1": 50, "h2": 99, "h3": 7, "h4": 7}
        assert not await database.hooks.plan(
            replace(HOOK, hook_id="h3"), [new("e1")], 60, wait=lambda own, _: own
        )

    async def test_a_ping_is_sent_before_all_that_waits(self, database: Database) -> None:
        """Whoever asked for it looks at once; it is of no order."""
        await add(database, HOOK)
        for number in range(3):
            await database.hooks.send("h1", new(f"e{number}", ""))
        for number in range(2):
            await database.hooks.send("h1", new(f"p{number}", "", kind=PING))
        assert await ids(database) == ["p0", "p1", "e0"]
        (one, *_) = await due(database, limit=1)
        assert one.kind == PING

    async def test_a_hook_is_read_as_it_was_kept(self, database: Database) -> None:
        await add(database, HOOK)
        found = await database.hooks.get("h1")
        assert abs(found.created - await database.servers.now()) < 60
        assert replace(found, created=0.0, actor="") == HOOK
        assert await database.hooks.enabled() == [found]
        assert await database.hooks.page({"alice", "bob"}, "", 9) == [found]
        assert await database.hooks.page({"bob"}, "", 9) == []
        assert await database.hooks.page(None, "", 9) == [found]
        assert await database.hooks.page(None, "h1", 9) == []
        assert await database.hooks.count("alice") == 1
        assert await database.hooks.count(None) == 0

    async def test_one_that_is_not_there_is_unknown(self, database: Database) -> None:
        hooks = database.hooks
        for call in (
            hooks.get("x"),
            hooks.remove("x", actor=ACTOR),
            hooks.enable("x", skip_to=1, actor=ACTOR),
            hooks.disable("x", "why", actor=ACTOR),
            hooks.rotate("x", "s", 1.0, actor=ACTOR),
            hooks.send("x", new("e")),
            hooks.delivery(1),
        ):
            with pytest.raises(HookUnknown):
                await call
        assert not await hooks.plan(HOOK, [new("e")], 8, wait=lambda own, _: own)

    async def test_with_a_hook_go_its_deliveries(self, database: Database) -> None:
        await add(database, HOOK)
        await planned(database, new("e"))
        await database.hooks.remove("h1", actor=ACTOR)
        assert await database.hooks.due_hooks() == []
        assert await database.hooks.history("h1", 9) == []

    async def test_with_a_user_go_the_hooks_of_the_namespace(self, database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.access_tokens.add(access_token(), actor=ACTOR)
        await add(database, HOOK)
        other = replace(HOOK, hook_id="h2", namespace=None, scope="*")
        await add(database, other)
        await database.users.remove("alice", actor=ACTOR)
        assert [one.hook_id for one in await database.hooks.page(None, "", 9)] == ["h2"]

    async def test_an_event_is_planned_once_whoever_plans(
        self, database: Database, other: Database
    ) -> None:
        await add(database, HOOK)
        hook = await database.hooks.get("h1")
        done = await race(
            *(
                each.hooks.plan(hook, [new("a"), new("b")], 9, wait=lambda own, _: own)
                for each in (database, other, database, other)
            )
        )
        assert sorted(map(bool, done)) == [False, False, False, True]
        assert [one.event_id for one in await database.hooks.history("h1", 9)] == ["b", "a"]
        assert (await database.hooks.get("h1")).sequence == 9

    async def test_of_a_repository_the_earlier_comes_first(self, database: Database) -> None:
        await add(database, HOOK)
        first, *_ = await planned(database, new("a"), new("b"), new("c", "alice/other"))
        assert await ids(database) == ["a", "c"]
        assert await database.hooks.due_hooks() == ["h1"]
        await database.hooks.tried(first, DONE, actor=ACTOR)
        assert await ids(database) == ["b", "c"]
        assert [one.event_id for one in await due(database, limit=1)] == ["b"]

    async def test_nobody_waits_long_for_an_earlier_one(self, database: Database) -> None:
        await add(database, HOOK)
        first, *_ = await planned(database, new("a"), new("b"))
        await database.hooks.tried(first, AGAIN, actor=ACTOR)
        assert await ids(database) == []
        await made_older(database, HELD_BACK + 1)
        assert await ids(database) == ["b"]
        await made_older(database, 3600)
        assert await ids(database) == ["a", "b"]

    async def test_what_waits_for_its_turn_keeps_its_place_however_long(
        self, database: Database
    ) -> None:
        """A receiver that is slower than pushes come gets them in their order."""
        await add(database, HOOK)
        first, *_ = await planned(database, new("a"), new("b"), new("c"))
        await made_older(database, HELD_BACK + 1)
        assert await ids(database) == ["a"]
        assert await due(database, [first.delivery_id]) == []

    async def test_what_is_in_flight_is_not_due(self, database: Database) -> None:
        await add(database, HOOK)
        found = await planned(database, new("a"), new("c", "alice/other"))
        assert await due(database, [one.delivery_id for one in found]) == []

    async def test_an_attempt_is_noted(self, database: Database) -> None:
        await add(database, HOOK)
        (one,) = await planned(database, new("a"))
        await database.hooks.tried(one, AGAIN, actor=ACTOR)
        (seen,) = await database.hooks.history("h1", 9)
        assert (seen.state, seen.attempt, seen.status) == (DeliveryState.WAITING, 1, 503)
        assert 3500 < seen.next_at - await database.servers.now() <= 3600
        assert (await database.hooks.get("h1")).failing_since is not None
        await database.hooks.tried(one, DONE, actor=ACTOR)
        seen = await database.hooks.delivery(one.delivery_id)
        assert (seen.state, seen.attempt) == (DeliveryState.DELIVERED, 2)
        assert (seen.status, seen.answer, seen.seconds) == (200, "ok", 0.5)
        assert (await database.hooks.get("h1")).failing_since is None
        await database.hooks.tried(one, OVER, actor=ACTOR)  # what is over stays so
        assert (await database.hooks.delivery(one.delivery_id)).state is DeliveryState.DELIVERED

    async def test_a_ping_that_is_refused_says_nothing_of_its_hook(
        self, database: Database
    ) -> None:
        await add(database, HOOK)
        await database.hooks.send("h1", new("p", "", kind="ping"))
        (one,) = await due(database)
        await database.hooks.tried(one, OVER, actor=ACTOR)
        assert (await database.hooks.get("h1")).failing_since is None

    async def test_a_format_of_a_later_version_is_left_to_it(self, database: Database) -> None:
        await add(database, HOOK)
        await database.connections.change(text("UPDATE hooks SET format = 'later'"))
        assert await database.hooks.enabled() == []
        assert await database.hooks.page(None, "", 9) == []
        with pytest.raises(HookUnknown):
            await database.hooks.get("h1")

    async def test_since_when_a_hook_fails_is_the_first_time(self, database: Database) -> None:
        await add(database, HOOK)
        (one,) = await planned(database, new("a"))
        await database.hooks.tried(one, AGAIN, actor=ACTOR)
        since = (await database.hooks.get("h1")).failing_since
        await database.hooks.tried(one, OVER, actor=ACTOR)
        assert (await database.hooks.get("h1")).failing_since == since

    async def test_a_disabled_hook_is_not_asked_and_keeps_what_waits(
        self, database: Database
    ) -> None:
        await add(database, HOOK)
        one, two = await planned(database, new("a"), new("b", "alice/other"))
        gone = replace(OVER, disable="gone")
        await database.hooks.tried(one, gone, actor=ACTOR)
        await database.hooks.tried(two, AGAIN, actor=ACTOR)
        hook = await database.hooks.get("h1")
        assert (hook.state, hook.reason) == (HookState.DISABLED, "gone")
        assert await database.hooks.enabled() == []
        await database.hooks.enable("h1", skip_to=20, actor=ACTOR)
        hook = await database.hooks.get("h1")
        assert (hook.state, hook.reason, hook.sequence) == (HookState.ENABLED, "", 20)
        assert hook.failing_since is None
        await made_older(database, 3600)
        assert await ids(database) == ["b"]

    async def test_of_a_suspended_user_no_hook_is_asked(self, database: Database) -> None:
        """Those of the namespace wait until it is resumed; others that the user has made go on."""
        await add(database, HOOK)
        await planned(database, new("a"))
        await add(database, replace(HOOK, hook_id="h2", namespace="bob", scope="bob/*"))
        await add(database, replace(HOOK, hook_id="h3", namespace=None, scope="*"))
        states = AccountStates(database.connections)

        async def asked() -> list[str]:
            return [one.hook_id for one in await database.hooks.enabled()]

        assert [*await database.hooks.due_hooks()] == ["h1"]
        await states.suspend("alice", actor=ACTOR)
        assert await asked() == ["h2", "h3"]
        assert [*await database.hooks.due_hooks()] == []
        await states.resume("alice", actor=ACTOR)
        assert await asked() == ["h1", "h2", "h3"]
        assert [*await database.hooks.due_hooks()] == ["h1"]

    async def test_what_waits_is_counted(self, database: Database) -> None:
        """Deliveries that are over, and those of disabled hooks, do not wait."""

        async def figures() -> EventFigures:
            return await event_figures(database.connections, "nats")

        nothing = await figures()
        assert replace(nothing, newest=0) == EventFigures()
        await Positions(database.connections).advance("nats", 3)
        await add(database, HOOK)
        assert (await figures()).waiting == (await database.event_log.has_waiting())
        one, _ = await planned(database, new("a"), new("b", "alice/other"))
        await made_older(database, 3600)
        await database.event_log.number()
        found = await figures()
        assert 3600 <= found.oldest_seconds < 3700
        newest = await database.event_log.last()
        assert replace(found, oldest_seconds=0.0) == EventFigures(
            newest=newest, hooks_enabled=1, deliveries_waiting=2, read=3
        )
        await database.hooks.tried(one, OVER, actor=ACTOR)
        assert (await figures()).deliveries_waiting == 1
        await database.hooks.disable("h1", "a test", actor=ACTOR)
        found = await figures()
        assert (found.hooks_enabled, found.hooks_disabled) == (0, 1)
        assert (found.deliveries_waiting, found.oldest_seconds) == (0, 0.0)

    async def test_one_that_is_enabled_keeps_its_place(self, database: Database) -> None:
        await add(database, HOOK)
        await database.hooks.enable("h1", skip_to=20, actor=ACTOR)
        assert (await database.hooks.get("h1")).sequence == HOOK.sequence

    async def test_a_burst_is_merged_into_its_last(self, database: Database) -> None:
        await add(database, HOOK)
        merging = [new(name, wait=60.0, merges=True) for name in "abc"]
        other = new("o", "alice/other", wait=60.0, merges=True)
        hook = await database.hooks.get("h1")
        ages: list[float] = []

        def wait(own: float, age: float) -> float:
            ages.append(age)
            return own

        assert await database.hooks.plan(hook, [*merging, other], 8, wait=wait)
        seen = {one.event_id: one for one in await database.hooks.history("h1", 9)}
        assert [seen[name].state.value for name in "abco"] == [
            "merged",
            "merged",
            "waiting",
            "waiting",
        ]
        assert seen["c"].created == seen["a"].created
        assert await ids(database) == []
        await made_older(database, 60.0)
        found = await due(database)
        assert [one.event_id for one in found] == ["c", "o"]
        flying = [one.delivery_id for one in found]
        hook = await database.hooks.get("h1")
        assert await database.hooks.plan(hook, merging[:1], 9, wait=wait, in_flight=flying)
        assert ages[-1] >= 59  # the burst's, of which it is told
        assert (await database.hooks.delivery(flying[0])).state is DeliveryState.WAITING

    async def test_what_was_tried_is_not_merged(self, database: Database) -> None:
        await add(database, HOOK)
        (one,) = await planned(database, new("a"))
        await database.hooks.tried(one, AGAIN, actor=ACTOR)
        await planned(database, new("b", merges=True))
        assert (await database.hooks.delivery(one.delivery_id)).state is DeliveryState.WAITING

    async def test_a_secret_is_followed_by_another(self, database: Database) -> None:
        await add(database, HOOK)
        await database.hooks.rotate("h1", "new", 3600.0, actor=ACTOR)
        hook = await database.hooks.get("h1")
        assert (hook.secret, hook.old_secret) == ("new", HOOK.secret)
        assert 3500 < hook.old_secret_until - await database.servers.now() <= 3600

    async def test_old_deliveries_are_pruned_and_none_that_waits(self, database: Database) -> None:
        await add(database, HOOK)
        for name in "abcdef":
            await database.hooks.send("h1", new(name, f"alice/{name}"))
        for one in await due(database):
            if one.event_id not in "af":
                await database.hooks.tried(one, DONE, actor=ACTOR)
        assert await database.hooks.prune(NOW, 9, 99) == 0
        assert await database.hooks.prune(NOW, 3, 99) == 2
        left = await database.hooks.history("h1", 9)
        assert [one.event_id for one in left] == ["f", "e", "d", "a"]
        await made_older(database, 100.0)
        assert await database.hooks.prune(50.0, 9, 99) == 2
        assert [one.event_id for one in await database.hooks.history("h1", 9)] == ["f", "a"]

    async def test_a_clock_that_was_set_back_holds_up_none(self, database: Database) -> None:
        """A pause that is longer than any is none."""
        await add(database, HOOK)
        first, *_ = await planned(database, new("a"), new("b"), new("c", "alice/other"))
        await database.hooks.tried(first, AGAIN, actor=ACTOR)
        assert await ids(database) == ["c"]
        await made_older(database, -86_400.0)
        assert await database.hooks.due_hooks() == ["h1"]
        found = await database.hooks.due("h1", 99, held_back=HELD_BACK)
        assert [one.event_id for one, _ in found] == ["a", "b", "c"]
        await database.hooks.tried(first, OVER, actor=ACTOR)
        found = await database.hooks.due("h1", 99, held_back=HELD_BACK)
        assert [one.event_id for one, _ in found] == ["b", "c"]

    async def test_a_retry_holds_none_back_for_the_day_that_a_clock_was_set_back(
        self, database: Database
    ) -> None:
        await add(database, HOOK)
        first, *_ = await planned(database, new("a"), new("b"))
        await database.hooks.tried(first, AGAIN, actor=ACTOR)
        later = text("UPDATE deliveries SET created = created + 86400, next_at = next_at - 3000")
        await database.connections.change(later)
        found = await database.hooks.due("h1", 99, held_back=HELD_BACK)
        assert [one.event_id for one, _ in found] == ["b"]

    async def test_a_hook_is_of_somebody(self, database: Database) -> None:
        with pytest.raises(NamespaceUnknown):
            await database.hooks.add(HOOK, actor=ACTOR)

    async def test_no_hook_outlives_the_user_who_is_removed_meanwhile(
        self, database: Database, other: Database
    ) -> None:
        """Whoever adds one while the account goes: it would be whoever's gets that name."""
        for number in range(12):
            await database.users.add(user(), actor=ACTOR)
            hook = replace(HOOK, hook_id=f"r{number}")
            await race(
                other.hooks.add(hook, actor=ACTOR),
                database.users.remove("alice", actor=ACTOR),
                may=(NamespaceUnknown,),
            )
            assert await database.hooks.page(None, "", 9) == []
