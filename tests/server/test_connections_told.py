"""A start says so when the database has too few connections for the servers of the cluster."""

import pytest

from tests.pgbouncer import pgbouncer
from tests.postgres import EMPTIED, Postgres, postgres, postgres_url
from treescale.config import load
from treescale.server import start

__all__ = ["pgbouncer", "postgres", "postgres_url"]

pytestmark = pytest.mark.long


async def told(url: str, servers: int) -> list[str]:
    settings = load({"database": url, "workers": 4}, {}).settings
    said: list[str] = []
    await start._tell_connections(settings, servers, said.append)
    return said


async def test_only_when_it_cannot_fit(postgres_url: str, pgbouncer: Postgres) -> None:
    """PostgreSQL of these tests lets 197 connect: 5 servers of 4 workers want 175, 6 want 210."""
    assert await told(postgres_url, 5) == []
    first, second = await told(postgres_url, 6)
    assert "lets 197 connect, 6 servers like this one" in first
    assert "want up to 210: raise max_connections by 13" in second
    assert await told(pgbouncer.url(EMPTIED), 6) == [], "through a pooler that is no limit"
    assert await told("sqlite:///a.db", 1) == []
