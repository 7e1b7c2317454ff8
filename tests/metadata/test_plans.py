"""No statement of a request path reads a table from end to end, or sorts more than a page."""

import re
import sqlite3
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import (
    Delete,
    ForeignKeyConstraint,
    Select,
    Update,
    create_engine,
    event,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg as postgresql

from tests.postgres import connect
from tests.tables import each_row
from treescale.metadata import (
    accounts,
    blobs,
    keys,
    layouts,
    manifest_push,
    manifests,
    missing_copies,
    namespaces,
    organisations,
    repositories,
    servers,
    uploads,
    work,
)
from treescale.metadata.collection import adoption, purge_plan, purging, rows
from treescale.metadata.events import audit, groups, hooks, log, recording
from treescale.metadata.identity import issuers, links, providers, robots, sessions, sign_on, states
from treescale.metadata.limits import settling
from treescale.metadata.migrations import migrate
from treescale.metadata.retention import facts, removal
from treescale.metadata.retention import rules as retention_rules
from treescale.metadata.rules import immutable
from treescale.metadata.schema import manifests as manifests_table
from treescale.metadata.schema import metadata
from treescale.metadata.shown import finder, image_facts, repository_pages, tag_keys, tag_pages
from treescale.metadata.usage import counting, figures, pull_counts, quotas

MODULES: tuple[ModuleType, ...] = (
    accounts,
    blobs,
    audit,
    groups,
    hooks,
    issuers,
    keys,
    links,
    log,
    providers,
    sessions,
    sign_on,
    states,
    layouts,
    missing_copies,
    manifest_push,
    manifests,
    namespaces,
    organisations,
    purge_plan,
    purging,
    recording,
    removal,
    repositories,
    robots,
    servers,
    settling,
    uploads,
    work,
    counting,
    figures,
    immutable,
    retention_rules,
    facts,
    pull_counts,
    quotas,
    finder,
    image_facts,
    repository_pages,
    tag_keys,
    tag_pages,
)
TABLES = frozenset(metadata.tables)
Statement = Select[Any] | Update | Delete
LISTS: dict[str, list[Any]] = {
    "chunks": [b"a", b"b"],
    "digests": ["a", "b"],
    "sources": ["a/b", "c/d"],
    "these": [1, 2],
    "namespaces": ["a", "b"],
    "names": ["a", "b"],
}

READ_WHOLE = {
    "hooks.ENABLED",
    "hooks.DUE_HOOKS",
    "counting.ANY_CHANGE",
    "work.LIST",
    "work.RECENT",
    "work.LIST_WALKS",
    "missing_copies.STORES",
    "work.PRUNE",
    "keys.LIST_PEER_KEYS",
    "servers.DEPART_STORES",
    "servers.LIST_SERVERS",
    "servers.PRUNE_SERVERS",
    "servers.REMOVE_STORES",
    "keys.COUNT_SIGNING_KEYS",
    "keys.LIST_SIGNING_KEYS",
    "servers.LIST_STORES",
    "purging.STALE",
    "purging.CONFIRMED",
    "purging.OVER",
    "providers.LIST",
    "namespaces.HOLD_ADMINISTRATORS",
}
"""A handful of rows each."""
ALONG_AN_INDEX = {"layouts.LATEST", "layouts.LIST", "accounts.NOT_ADOPTED"}
"""SQLite calls it a scan, but it follows an index: backwards as far as the limit, or one of the few
rows of a condition."""
SORTS = READ_WHOLE | {
    "repositories.LIST_VISIBLE",
    "accounts.OLDEST_ADDRESSES",
    "work.OPEN_OF",
    "figures.LIST",
    "figures.LIST_VISIBLE",
    "counting.LINKED",
    "settling.LINKED",
    "settling.PUT",
    "log.NUMBER",
    "robots.LIST",
    "organisations.LIST_OF",
    "hooks.LIST_OF",
    "providers.LIST_IDENTITIES",
    "sessions.LIST",
    "hooks.DUE",
    "organisations.HELD",
    "organisations.HELD_IN",
    "namespaces.HOLD_OWNED",
    "accounts.HOLD_OWNED",
}
"""A page, or the merge of several; what one user was granted; the addresses of one account, what
one store was asked for, and what was recorded since the publisher's last look: there are few."""
SCREENS = ("finder.", "image_facts.", "repository_pages.", "tag_pages.")
"""What sorts what one screen shows, or so many names as it looks at, after an index was read."""
SORTS_ON_POSTGRESQL = SORTS | {
    "accounts.SINCE",
    "groups.LIST",
    "manifest_push.HOLD_BLOBS",
    "manifest_push.HOLD_MANIFESTS",
}
"""At most `digests_max` rows, to lock them in order; what changed since the last look; the
groups of a namespace, of which there are a hundred."""


def found() -> Iterator[tuple[str, Statement]]:
    """Yield every statement, by its place, that finds rows; administration's are not public."""
    for module in MODULES:
        for name, value in vars(module).items():
            public = name.isupper() and not name.startswith("_")
            if public and isinstance(value, Select | Update | Delete):
                yield f"{module.__name__.rpartition('.')[2]}.{name}", value
    for module in (finder, repository_pages, tag_pages):
        place = module.__name__.rpartition(".")[2]
        for name, table in vars(module).items():
            if name.isupper() and not name.startswith("_") and isinstance(table, dict):
                for key, value in table.items():
                    for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
                        yield f"{place}.{name}[{key}][{number}]", one
    yield "repositories.HOLD", repositories._HOLD
    yield "counting.LINKED", counting._LINKED
    yield "counting.NOTED", counting._NOTED
    yield "counting.LINKS_AFTER", counting._LINKS_AFTER
    yield "repositories.SET_VISIBILITY", repositories._SET_VISIBILITY


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
    names = statement.compile(dialect=sqlite.dialect()).params
    return statement.params({name: LISTS.get(name, "x") for name in names})


def scanned(plan: list[str]) -> list[str]:
    """Return the steps that read a whole table or index."""
    return [step for step in plan if (m := re.match(r"SCAN (\w+)", step)) and m[1] in TABLES]


def sorted_in_memory(plan: list[str]) -> list[str]:
    return [step for step in plan if "TEMP B-TREE" in step]


@each_row("name", STATEMENTS)
def test_sqlite_searches(name: str, sqlite_url: str) -> None:
    plan = plan_on_sqlite(STATEMENTS[name], sqlite_url.removeprefix("sqlite:///"))
    assert plan
    if name in ALONG_AN_INDEX:
        assert [step for step in plan if "USING" in step and "INDEX" in step] == plan
    else:
        assert not (name not in READ_WHOLE and scanned(plan)), plan
    may_sort = name in SORTS or name.startswith(SCREENS)
    assert may_sort or not sorted_in_memory(plan), plan


def test_organisations_are_listed_past_no_user(sqlite_url: str) -> None:
    [step, *more] = plan_on_sqlite(organisations.LIST, sqlite_url.removeprefix("sqlite:///"))
    assert "USING INDEX ix_namespaces_organisation (name>?)" in step
    assert more == []


def test_what_0_1_0_revokes_is_found_among_any_number(sqlite_url: str) -> None:
    plan = plan_on_sqlite(accounts.NOT_ADOPTED, sqlite_url.removeprefix("sqlite:///"))
    assert plan == ["SCAN revocations USING INDEX ix_revocations_unnoted"]


def test_a_scan_would_be_noticed(sqlite_url: str) -> None:
    created = metadata.tables["repositories"].c.created
    plan = plan_on_sqlite(select(created).order_by(created), sqlite_url.removeprefix("sqlite:///"))
    assert scanned(plan)
    assert sorted_in_memory(plan)


OF_PAIRS = {
    name: statement
    for module in (rows, adoption, purging, purge_plan)
    for name, statement in vars(module).items()
    if isinstance(statement, Select | Update | Delete)
    and {"these", "row_ids", "keys"} <= statement.compile(dialect=sqlite.dialect()).params.keys()
}


@each_row("name", OF_PAIRS)
def test_what_is_collected_is_found_by_its_keys(name: str, sqlite_url: str) -> None:
    """SQLite has no index for pairs alone, and read the whole table in each transaction."""
    told: list[tuple[str, Any]] = []
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *of: told.append((of[2], of[3])))
        connection.execute(OF_PAIRS[name], adoption.among([(1, "a"), (2, "b")]))
    engine.dispose()
    file = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    (statement, values), *_ = told
    plan = [detail for *_, detail in file.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    file.close()
    assert plan
    assert not scanned(plan), plan


def test_there_are_such_statements() -> None:
    assert len(OF_PAIRS) > 10


@pytest.mark.parametrize("told", [True, False])
def test_what_refers_to_something_is_found_by_both_columns(sqlite_url: str, *, told: bool) -> None:
    """And the control: SQLite looks through all references of the repository, untold of them."""
    path = sqlite_url.removeprefix("sqlite:///")
    if not told:
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM sqlite_stat1")
        connection.commit()
        connection.close()
    part = select(manifests_table.c.digest).where(adoption.IS_PART_OF_ANY)
    plan = plan_on_sqlite(part, path)
    (step,) = (step for step in plan if step.startswith("SEARCH manifest_references"))
    assert step.endswith("(repository_id=? AND digest=?)") is told, plan


MUCH = (
    """INSERT INTO repositories (repository_id, name, namespace, public, created)
       VALUES (1, 'a/b', 'a', false, 0)""",
    """INSERT INTO manifests (repository_id, digest, media_type, size, payload, pushed,
                              annotations, annotations_bytes)
       SELECT 1, 'm' || n, 'x', 1, '\\x00', 0, '', 0 FROM generate_series(1, 30000) n""",
    """INSERT INTO manifest_references (repository_id, manifest, digest, kind)
       SELECT 1, 'm' || n, 'b' || n, 'blob' FROM generate_series(1, 30000) n""",
    "ANALYZE",
)


@pytest.mark.parametrize("each_by_itself", [True, False])
async def test_what_is_due_is_found_on_postgresql_however_much_there_is(
    empty_postgres_url: str, *, each_by_itself: bool
) -> None:
    """And the control: asked for those that nothing refers to it joins all references there are."""
    await migrate(empty_postgres_url)
    connection = await connect(empty_postgres_url)
    for statement in MUCH:
        await connection.execute(statement)
    due = rows.DUE_MANIFESTS
    if not each_by_itself:
        is_due = manifests_table.c.deleted < rows._UNDELETED_UNTIL
        due = select(manifests_table.c.digest).where(is_due, ~adoption.IS_PART_OF_ANY).limit(10)
    compiled = due.compile(dialect=POSTGRESQL, compile_kwargs={"render_postcompile": True})
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    plan = await connection.fetch(f"EXPLAIN {compiled}", *values)
    read = "\n".join(row[0] for row in plan)
    assert ("Seq Scan on manifest" not in read) is each_by_itself, read
    await connection.close()


async def test_postgresql_searches(postgres_url: str) -> None:
    connection = await connect(postgres_url)
    # The tables are empty: scanning, or sorting, would be cheapest if it were allowed.
    for way in ("seqscan", "bitmapscan", "sort"):
        await connection.execute(f"SET enable_{way} = off")
    for name, statement in STATEMENTS.items():
        compiled = bound(statement).compile(
            dialect=POSTGRESQL, compile_kwargs={"render_postcompile": True}
        )
        prepared = await connection.prepare(str(compiled))
        values = [argument(parameter.name) for parameter in prepared.get_parameters()]
        plan = repr(await prepared.explain(*values))
        assert name in READ_WHOLE or "Seq Scan" not in plan, (name, plan)
        may_sort = name in SORTS_ON_POSTGRESQL or name.startswith(SCREENS)
        assert may_sort or "'Sort'" not in plan, (name, plan)
    await connection.close()


def argument(kind: str) -> object:
    """Return any value of a PostgreSQL type."""
    values = {"int4": 1, "int8": 1, "float8": 1.0, "bytea": b"x", "bool": True}
    return values.get(kind, "x")


KEYS = sorted(
    (key for table in metadata.sorted_tables for key in table.foreign_key_constraints),
    key=lambda key: str(key.name),
)


@each_row("key", KEYS, ids=lambda key: str(key.name))
def test_what_hangs_on_a_row_is_found_by_an_index(key: ForeignKeyConstraint) -> None:
    wanted = key.column_keys
    indexes = [index.columns.keys() for index in key.table.indexes]
    indexes.append(key.table.primary_key.columns.keys())
    assert wanted in [index[: len(wanted)] for index in indexes]
