"""Two real servers of which one takes writes, as after a fail-over: writes find their way there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from tests.postgres import Postgres, connect, running_postgres
from treescale.errors import DatabaseTrouble, DatabaseUnavailable
from treescale.metadata.database import Database, open_database
from treescale.metadata.migrations import migrate

pytestmark = pytest.mark.long

SECONDS_MAX = 10.0
INSERT = text("INSERT INTO settings (name, value) VALUES ('a', 'b')")


@dataclass
class Roles:
    """Which of the servers takes writes."""

    servers: list[Postgres]

    def url(self, *numbers: int) -> str:
        """Return the URL of these, or of all."""
        hosts = [self.servers[n] for n in numbers] or self.servers
        first = self.servers[0].url("postgres").partition("?")[0]
        return f"{first}?host={','.join(str(each.directory) for each in hosts)}"

    async def become(self, primary: int | None) -> None:
        """Have one take writes, and no other; also in sessions that there are."""
        for number, server in enumerate(self.servers):
            word = "off" if number == primary else "on"
            await server.execute(
                "postgres",
                "SET default_transaction_read_only = off",
                f"ALTER SYSTEM SET default_transaction_read_only = {word}",
                "SELECT pg_reload_conf()",
            )
            await self._until(server, word)

    @staticmethod
    async def _until(server: Postgres, word: str) -> None:
        connection = await connect(server.url("postgres"))
        async with asyncio.timeout(SECONDS_MAX):
            while await connection.fetchval("SHOW default_transaction_read_only") != word:
                await connection.execute("SELECT pg_sleep(0.01)")
        await connection.close()


@pytest.fixture(scope="module")
def both() -> Iterator[list[Postgres]]:
    with running_postgres() as first, running_postgres() as second:
        for each in (first, second):
            asyncio.run(migrate(each.url("postgres")))
        yield [first, second]


@pytest.fixture
async def roles(both: list[Postgres]) -> AsyncIterator[Roles]:
    roles = Roles(both)
    await roles.become(0)
    yield roles
    for each in both:
        await each.execute(
            "postgres", "SET default_transaction_read_only = off", "DELETE FROM settings"
        )


async def until(database: Database, *, seconds: float = SECONDS_MAX) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                await database.connections.change(INSERT)
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_write_goes_on_at_the_new_primary(roles: Roles) -> None:
    """The old one still takes connections, and has ours: none of these is kept."""
    database = open_database(roles.url())
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(database.ping())
    await roles.become(1)
    await database.connections.change(INSERT)
    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(database.settings.get("a")) for _ in range(12)]
    assert [each.result() for each in reads] == ["b"] * 12
    await database.close()


async def test_without_the_hosts_in_the_url_it_stays_where_it_takes_no_writes(roles: Roles) -> None:
    """The control. What can be read is read on: there is nowhere else to look."""
    database = open_database(roles.url(0))
    await database.settings.put("c", "d")
    await roles.become(1)
    with pytest.raises(DatabaseUnavailable, match="cannot be written") as caught:
        await database.connections.change(INSERT)
    assert caught.value.trouble is DatabaseTrouble.READ_ONLY
    assert await database.settings.get("c") == "d"
    await roles.become(0)
    await database.connections.change(INSERT)
    await database.close()


async def test_while_there_is_none_it_is_away_and_then_back(roles: Roles) -> None:
    database = open_database(roles.url())
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(database.run())
        await database.ping()
        await roles.become(None)
        with pytest.raises(DatabaseUnavailable):
            await database.connections.change(INSERT)
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                try:
                    await database.ping()
                except DatabaseUnavailable:
                    break
                await asyncio.sleep(0.05)
        await roles.become(1)
        await until(database)
        watch.cancel()
    await database.close()


async def test_a_start_waits_for_no_standby(roles: Roles) -> None:
    """`migrate` as well goes to the one that takes writes, and says so if there is none."""
    await roles.become(1)
    await migrate(roles.url())
    await roles.become(None)
    with pytest.raises(DatabaseUnavailable, match="is a standby, or takes no writes"):
        await migrate(roles.url())
