"""What is found of databases, with each fault injected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres import postgres, postgres_url
from tests.tables import each_row
from tests.templates import empty_database
from treescale.cli.doctor.database import (
    DatabaseFacts,
    clock,
    connections,
    database,
    durability,
    latency,
    schema,
    sqlite_place,
)
from treescale.cli.doctor.finding import Finding, State
from treescale.config import load
from treescale.metadata.engine.hosts.limit import ConnectionLimit
from treescale.metadata.migrations import HEAD

__all__ = ["postgres", "postgres_url"]

ON = {"fsync": "on", "full_page_writes": "on"}
WELL = DatabaseFacts(0.001, 0.2, HEAD, ON, ConnectionLimit(97), servers=3, workers=2)


@each_row(
    ("check", "change", "state", "told"),
    [
        (latency, {}, State.OK, "1.0 ms"),
        (latency, {"seconds": 0.05}, State.WARNING, "50.0 ms"),
        (schema, {}, State.OK, HEAD),
        (schema, {"schema": ""}, State.OK, "no tables yet"),
        (schema, {"schema": "0001"}, State.WARNING, "0001, and this version has"),
        (schema, {"schema": "9999"}, State.FAILURE, "a newer one wrote it"),
        (clock, {}, State.OK, "+0.2 s"),
        (clock, {"clock_error": -6.0}, State.WARNING, "-6.0 s"),
        (connections, {}, State.OK, "97 for all; 3 servers of 2 workers use up to 63"),
        (connections, {"workers": 4}, State.WARNING, "up to 105"),
        (connections, {"limit": ConnectionLimit(17)}, State.WARNING, "17 for all"),
        (connections, {"limit": None, "workers": 9}, State.OK, "a pooler is between"),
        (durability, {}, State.OK, "are on"),
        (durability, {"settings": ON | {"fsync": "off"}}, State.FAILURE, "fsync off"),
    ],
)
def test_what_is_found(
    check: Callable[[DatabaseFacts], Finding | None],
    change: dict[str, object],
    state: State,
    told: str,
) -> None:
    found = check(replace(WELL, **change))  # type: ignore[arg-type]
    assert found is not None
    assert (found.state, told in found.found) == (state, True), found
    assert bool(found.advice) == (state is not State.OK)


def test_sqlite_has_none_of_postgresql_s_settings() -> None:
    facts = replace(WELL, settings={})
    assert (connections(facts), durability(facts)) == (None, None)


def test_sqlite_on_a_network_file_system_is_damaged_some_day() -> None:
    assert sqlite_place("/x", "ext4").state is State.OK
    for kind in ("nfs4", "cifs", "9p", "fuse.sshfs"):
        found = sqlite_place("/x", kind)
        assert (found.state, kind in found.found) == (State.FAILURE, True)


def states(url: str) -> dict[str, State]:
    settings = load({"database": url}, {}).settings
    return {each.name: each.state for each in database(settings)}


def test_a_database_that_was_started_once(tmp_path: Path) -> None:
    empty_database(tmp_path / "treescale.db")
    found = states(f"sqlite:///{tmp_path}/treescale.db")
    assert found == dict.fromkeys(["database file", "database", "schema", "clock"], State.OK)


def test_one_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/treescale.db"
    assert states(url) == {"database file": State.OK, "database": State.OK}
    assert [*tmp_path.iterdir()] == []


def test_one_that_is_away_is_one_failure() -> None:
    assert states("postgresql://nobody@127.0.0.1:1/x") == {"database": State.FAILURE}


@pytest.mark.long
def test_postgresql_says_what_it_would_lose(postgres_url: str) -> None:
    found = states(postgres_url)
    assert found["durability"] is State.FAILURE, "that of tests does not sync"
    assert (found["database"], found["schema"], found["max_connections"]) == (State.OK,) * 3
