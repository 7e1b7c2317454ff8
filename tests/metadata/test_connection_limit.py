"""How many connections PostgreSQL lets all servers have, and what people are told when too few."""

import pytest

from tests.pgbouncer import pgbouncer
from tests.postgres import EMPTIED, ROLE, Postgres
from tests.tables import each_row
from treescale.errors import DatabaseUnavailable
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.hosts.limit import ConnectionLimit, lowest
from treescale.metadata.engine.postgresql import (
    CONNECTIONS_MAX,
    connection_limit,
    connections_wanted,
)

__all__ = ["pgbouncer"]

ROLES, DATABASES = "CONNECTION LIMIT of its role", "CONNECTION LIMIT of its database"


@each_row(
    ("server", "role", "database", "expected"),
    [
        (97, -1, -1, ConnectionLimit(97)),
        (97, None, None, ConnectionLimit(97)),
        (97, 50, -1, ConnectionLimit(50, ROLES)),
        (97, 50, 20, ConnectionLimit(20, DATABASES)),
        (97, 0, -1, ConnectionLimit(0, ROLES)),
        (97, 200, 300, ConnectionLimit(97)),
    ],
)
def test_the_lowest_counts(
    server: int, role: int | None, database: int | None, expected: ConnectionLimit
) -> None:
    assert lowest(server, role, database) == expected


def test_what_is_said() -> None:
    assert ConnectionLimit(63).advice(63) == ""
    assert ConnectionLimit(60).advice(63).startswith("raise max_connections by 3 and restart")
    assert f"raise the {ROLES} to 63" in ConnectionLimit(10, ROLES).advice(63)


def test_all_processes_of_all_servers_count() -> None:
    assert connections_wanted(workers=1, servers=1) == 2 * (CONNECTIONS_MAX + 1)
    assert connections_wanted(workers=4, servers=3) == 3 * 5 * (CONNECTIONS_MAX + 1)


@pytest.mark.long
async def test_a_server_is_asked_and_a_pooler_is_not(
    postgres_url: str, postgres: Postgres, pgbouncer: Postgres
) -> None:
    assert await connection_limit(parse_address("sqlite:///a.db")) is None
    assert await connection_limit(parse_address(postgres_url)) == ConnectionLimit(197)
    assert await connection_limit(parse_address(pgbouncer.url(EMPTIED))) is None
    await postgres.execute("postgres", "CREATE ROLE few LOGIN CONNECTION LIMIT 5")
    few = parse_address(postgres_url.replace(ROLE, "few", 1))
    assert await connection_limit(few) == ConnectionLimit(5, ROLES)
    await postgres.execute("postgres", "DROP ROLE few")
    with pytest.raises(DatabaseUnavailable):
        await connection_limit(parse_address("postgresql://nobody@127.0.0.1:1/x"))
