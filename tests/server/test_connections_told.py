"""A start says so when the database has too few connections for the servers of the cluster."""

import pytest
from structlog.testing import capture_logs

from tests.pgbouncer import pgbouncer
from tests.postgres import EMPTIED, Postgres, postgres, postgres_url
from treescale.config import load
from treescale.errors import DatabaseUnavailable
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.address import Address
from treescale.server import start

__all__ = ["pgbouncer", "postgres", "postgres_url"]


async def told(url: str, servers: int) -> list[str]:
    settings = load({"database": url, "workers": 4}, {}).settings
    said: list[str] = []
    await start._tell_connections(settings, servers, said.append)
    return said


@pytest.mark.long
async def test_only_when_it_cannot_fit(postgres_url: str, pgbouncer: Postgres) -> None:
    """PostgreSQL of these tests lets 197 connect: 5 servers of 4 workers want 175, 6 want 210."""
    assert await told(postgres_url, 5) == []
    first, second = await told(postgres_url, 6)
    assert "lets 197 connect, 6 servers like this one" in first
    assert "want up to 210: raise max_connections by 13" in second
    assert await told(pgbouncer.url(EMPTIED), 6) == [], "through a pooler that is no limit"
    assert await told("sqlite:///a.db", 1) == []


async def test_none_left_to_ask_with_stops_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all servers start at once the one more may be one too many."""

    async def refused(_: Address) -> None:
        raise DatabaseUnavailable("the database has no connection or memory left for us")

    monkeypatch.setattr(postgresql, "connection_limit", refused)
    with capture_logs() as lines:
        assert await told("postgresql://tree@db/tree", 3) == []
    assert [line["event"] for line in lines] == ["database.connections"]
