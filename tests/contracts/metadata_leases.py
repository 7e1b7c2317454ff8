"""What `Leases` promises: one holder at a time, by the database's clock, and a fence."""

import asyncio

import pytest
from sqlalchemy import update

from tests.fakes_disk import JumpingClock
from treescale.metadata.database import Database
from treescale.metadata.schema import leases
from treescale.metadata.work import UNRENEWED

LONG = 3600.0
"""Longer than any test."""
OVER = -1.0
"""A lease that ends before it begins: as if time had passed."""


class LeasesContract:
    """Subclass with a `database` fixture."""

    async def test_one_holder_has_it(self, database: Database) -> None:
        assert await database.leases.list() == []
        assert await database.leases.hold("collect", "a", LONG) == 1
        assert await database.leases.hold("collect", "b", LONG) is None
        assert await database.leases.hold("publish", "b", LONG) == 1
        held = {each.name: (each.holder, each.fence) for each in await database.leases.list()}
        assert held == {"collect": ("a", 1), "publish": ("b", 1)}

    async def test_renewed_in_time_it_keeps_its_fence(self, database: Database) -> None:
        first = await database.leases.hold("collect", "a", LONG)
        assert await database.leases.hold("collect", "a", 2 * LONG) == first
        (held,) = await database.leases.list()
        now = await database.servers.now()
        assert 2 * LONG - 60 < held.until - now < 2 * LONG + 60

    async def test_a_refusal_changes_nothing(self, database: Database) -> None:
        await database.leases.hold("collect", "a", LONG)
        before = await database.leases.list()
        assert await database.leases.hold("collect", "b", 2 * LONG) is None
        assert await database.leases.list() == before

    async def test_each_new_holder_has_a_higher_fence(self, database: Database) -> None:
        assert await database.leases.hold("collect", "a", OVER) == 1
        assert await database.leases.hold("collect", "b", OVER) == 2
        assert await database.leases.hold("collect", "a", LONG) == 3

    async def test_who_comes_late_is_a_new_holder(self, database: Database) -> None:
        """Somebody may have held it meanwhile, and what he fenced must stay so."""
        assert await database.leases.hold("collect", "a", OVER) == 1
        assert await database.leases.hold("collect", "a", LONG) == 2

    async def test_released_it_is_free_at_once(self, database: Database) -> None:
        await database.leases.hold("collect", "a", LONG)
        await database.leases.release("collect", "b")
        assert await database.leases.hold("collect", "b", LONG) is None
        for _ in range(2):
            await database.leases.release("collect", "a")
        await database.leases.release("unknown", "a")
        assert await database.leases.hold("collect", "b", LONG) == 2
        await database.leases.release("collect", "a")
        assert await database.leases.hold("collect", "a", LONG) is None

    async def test_of_many_that_ask_at_once_one_gets_it(self, database: Database) -> None:
        for fence in (1, 2):
            asks = [database.leases.hold("collect", f"{fence}-{n}", LONG) for n in range(12)]
            got = await asyncio.gather(*asks)
            assert sorted(got, key=str) == [fence, *[None] * 11]
            await database.leases.release("collect", f"{fence}-{got.index(fence)}")

    async def test_after_the_clock_was_set_back_a_dead_holder_keeps_nobody(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its lease seems to last for a day; nobody renews it, by the clock of who waits for it."""
        clock, pause = JumpingClock(), UNRENEWED * 30.0
        monkeypatch.setattr(database.leases, "_clock", clock)
        assert await database.leases.hold("hooks.deliver", "dead", 30.0) == 1
        await database.connections.change(update(leases).values(until=leases.c.until + 86_400))
        assert await database.leases.hold("hooks.deliver", "b", 30.0) is None
        clock.seconds += pause - 1
        assert await database.leases.hold("hooks.deliver", "b", 30.0) is None
        clock.seconds += 1
        assert await database.leases.hold("hooks.deliver", "b", 30.0) == 2

    async def test_a_holder_that_renews_keeps_it_whatever_the_clock_does(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock, pause = JumpingClock(), UNRENEWED * 30.0
        monkeypatch.setattr(database.leases, "_clock", clock)
        for _ in range(3):
            assert await database.leases.hold("hooks.deliver", "a", 30.0) == 1
            await database.connections.change(update(leases).values(until=leases.c.until + 86_400))
            assert await database.leases.hold("hooks.deliver", "b", 30.0) is None
            clock.seconds += pause
        assert await database.leases.hold("hooks.deliver", "a", LONG) == 1
        clock.seconds += pause
        assert await database.leases.hold("hooks.deliver", "b", LONG) is None, "just a long one"
