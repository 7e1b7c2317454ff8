"""No statement of a request path reads a table from end to end, or sorts more than a page."""

import re
import sqlite3
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Delete, ForeignKeyConstraint, Select, Update, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg as postgresql

from tests.postgres import connect
from treescale.metadata.schema import metadata
from treescale.metadata.sql import (
    access_tokens,
    blobs,
    layouts,
    manifests,
    owed,
    peer_keys,
    repositories,
    revocations,
    servers,
    settings,
    signing_keys,
    statements,
    stores,
    tags,
    uploads,
    users,
)

MODULES: tuple[ModuleType, ...] = (
    access_tokens,
    blobs,
    layouts,
    manifests,
    owed,
    peer_keys,
    repositories,
    revocations,
    servers,
    settings,
    signing_keys,
    stores,
    tags,
    uploads,
    users,
)
TABLES = frozenset(metadata.tables)
Statement = Select[Any] | Update | Delete
LISTS = {"digests": ["a", "b"], "sources": ["a/b", "c/d"]}

READ_WHOLE = {
    "peer_keys.LIST",
    "servers.DEPART_STORES",
    "servers.LIST",
    "servers.PRUNE",
    "servers.REMOVE_STORES",
    "signing_keys.COUNT",
    "signing_keys.LIST",
    "stores.LIST",
}
"""A handful of rows each."""
FROM_THE_END = {"layouts.LATEST", "layouts.LIST"}
"""SQLite calls it a scan, but it follows an index backwards as far as the limit."""
SORTS = READ_WHOLE | {"repositories.LIST_VISIBLE"}
"""The merge of two pages."""
SORTS_ON_POSTGRESQL = SORTS | {"manifests.HOLD_BLOBS", "manifests.HOLD_MANIFESTS"}
"""At most `digests_max` rows, to lock them in order."""


def found() -> Iterator[tuple[str, Statement]]:
    """Yield every statement, by its place, that finds rows; administration's are not public."""
    for module in MODULES:
        for name, value in vars(module).items():
            public = name.isupper() and not name.startswith("_")
            if public and isinstance(value, Select | Update | Delete):
                yield f"{module.__name__.rpartition('.')[2]}.{name}", value
    yield "statements.HOLD", statements._HOLD
    yield "repositories.SET_PUBLIC", repositories._SET_PUBLIC


STATEMENTS = dict(found())
POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


def plan_on_sqlite(statement: Statement, path: str) -> list[str]:
    compiled = bound(statement).compile(
        dialect=sqlite.dialect(paramstyle="qmark"), compile_kwargs={"render_postcompile": True}
    )
    connection = sqlite3.connect(path)
    rows = connection.execute(
        f"EXPLAIN QUERY PLAN {compiled}", [None] * len(compiled.positiontup or ())
    ).fetchall()
    connection.close()
    return [detail for *_, detail in rows]


def bound(statement: Statement) -> Statement:
    """Return the statement with values, which a list needs to be spelled out."""
    if not isinstance(statement, Select):
        return statement
    names = statement.compile().params
    return statement.params({name: LISTS.get(name, "x") for name in names})


def scanned(plan: list[str]) -> list[str]:
    """Return the steps that read a whole table or index."""
    return [step for step in plan if (m := re.match(r"SCAN (\w+)", step)) and m[1] in TABLES]


def sorted_in_memory(plan: list[str]) -> list[str]:
    return [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", STATEMENTS)
def test_sqlite_searches(name: str, sqlite_url: str) -> None:
    plan = plan_on_sqlite(STATEMENTS[name], sqlite_url.removeprefix("sqlite:///"))
    assert plan
    if name in FROM_THE_END:
        assert [step for step in plan if "USING" in step and "INDEX" in step] == plan
    else:
        assert not (name not in READ_WHOLE and scanned(plan)), plan
    assert not (name not in SORTS and sorted_in_memory(plan)), plan


def test_a_scan_would_be_noticed(sqlite_url: str) -> None:
    created = metadata.tables["repositories"].c.created
    plan = plan_on_sqlite(select(created).order_by(created), sqlite_url.removeprefix("sqlite:///"))
    assert scanned(plan)
    assert sorted_in_memory(plan)


async def test_postgresql_searches(postgres_url: str) -> None:
    connection = await connect(postgres_url)
    # The tables are empty: scanning would be cheapest if it were allowed.
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    for name, statement in STATEMENTS.items():
        compiled = bound(statement).compile(
            dialect=POSTGRESQL, compile_kwargs={"render_postcompile": True}
        )
        prepared = await connection.prepare(str(compiled))
        values = [argument(parameter.name) for parameter in prepared.get_parameters()]
        plan = repr(await prepared.explain(*values))
        assert name in READ_WHOLE or "Seq Scan" not in plan, (name, plan)
        assert name in SORTS_ON_POSTGRESQL or "'Sort'" not in plan, (name, plan)
    await connection.close()


def argument(kind: str) -> object:
    """Return any value of a PostgreSQL type."""
    values = {"int4": 1, "int8": 1, "float8": 1.0, "bytea": b"x", "bool": True}
    return values.get(kind, "x")


KEYS = sorted(
    (key for table in metadata.sorted_tables for key in table.foreign_key_constraints),
    key=lambda key: str(key.name),
)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: str(key.name))
def test_what_hangs_on_a_row_is_found_by_an_index(key: ForeignKeyConstraint) -> None:
    wanted = key.column_keys
    indexes = [index.columns.keys() for index in key.table.indexes]
    indexes.append(key.table.primary_key.columns.keys())
    assert wanted in [index[: len(wanted)] for index in indexes]
