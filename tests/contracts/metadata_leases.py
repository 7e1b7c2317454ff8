"""What `Leases` promises: one holder at a time, by the database's clock, and a fence."""

import asyncio

from treescale.metadata.database import Database

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
