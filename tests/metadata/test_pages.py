"""A page costs what it costs, however much there is before and after it: counted, not timed."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg as postgresql

from tests.contracts.metadata_values import digest
from tests.postgres import connect
from treescale.metadata import manifests, repositories
from treescale.metadata.migrations import migrate

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
LIMIT = 50
FEW, MANY = 1_000, 20_000
NAMESPACE = "team050"
PAGES: dict[str, tuple[Any, dict[str, object]]] = {
    "tags": (manifests.LIST_TAGS, {"repository": "team000/app-000000", "after": "v0000500"}),
    "all": (repositories.LIST_ALL, {"after": "team050/"}),
    "public": (repositories.LIST_PUBLIC, {"after": "team050/"}),
    "visible": (repositories.LIST_VISIBLE, {"after": "", "namespace": NAMESPACE}),
}
WHOLE = text("SELECT count(*) FROM repositories WHERE name > :after AND :limit > 0")


def repository_rows(count: int) -> Iterator[tuple[int, str, str, bool, float]]:
    for number in range(count):
        namespace = f"team{number % 100:03d}"
        yield number + 1, f"{namespace}/app-{number:06d}", namespace, number % 2 == 0, 0.0


def tag_rows(count: int) -> Iterator[tuple[int, str, str, float]]:
    for number in range(count):
        yield 1, f"v{number:07d}", digest(1), 0.0


MANIFEST = (1, digest(1), "m", 2, 0, 0.0, "{}", b"{}")
COLUMNS = {
    "repositories": "repository_id, name, namespace, public, created",
    "manifests": (
        "repository_id, digest, media_type, size, annotations_bytes, pushed, annotations, payload"
    ),
    "tags": "repository_id, name, digest, updated",
}


def rows_of(count: int) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "repositories": list(repository_rows(count)),
        "manifests": [MANIFEST],
        "tags": list(tag_rows(count)),
    }


def fill(path: str, count: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    for table in ("tags", "manifests", "repositories"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  a constant
    for table, rows in rows_of(count).items():
        marks = ", ".join("?" * len(rows[0]))
        words = f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({marks})"  # noqa: S608
        connection.executemany(words, rows)
    connection.commit()
    return connection


def steps(connection: sqlite3.Connection, statement: Any, values: dict[str, object]) -> int:
    """Return how many instructions SQLite runs for the query."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 1)
    connection.execute(str(compiled), {**compiled.params, **values, "limit": LIMIT}).fetchall()
    connection.set_progress_handler(None, 0)
    return count


def test_on_sqlite(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    counts: dict[str, list[int]] = {}
    for rows in (FEW, MANY):
        connection = fill(path, rows)
        for name, (statement, values) in PAGES.items():
            counts.setdefault(name, []).append(steps(connection, statement, values))
        counts.setdefault("whole", []).append(steps(connection, WHOLE, {"after": ""}))
        connection.close()
    few, many = counts.pop("whole")
    assert many > 10 * few, "what reads everything is noticed"
    for name, (few, many) in counts.items():
        assert 0 < many < 10 * few, (name, few, many)
        assert many < 100 * LIMIT, (name, few, many)


async def test_on_postgresql(empty_postgres_url: str) -> None:
    await migrate(empty_postgres_url)  # what the planner learns there is not for other tests
    connection = await connect(empty_postgres_url)
    for table, rows in rows_of(MANY).items():
        columns = COLUMNS[table].split(", ")
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    await connection.execute("ANALYZE")
    for name, (statement, values) in PAGES.items():
        compiled = statement.compile(dialect=POSTGRESQL)
        given = {**values, "limit": LIMIT}
        arguments = [given.get(key, compiled.params[key]) for key in compiled.positiontup or ()]
        (plan,) = json.loads(
            await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", *arguments)
        )
        assert most_rows(plan["Plan"]) <= 2 * LIMIT, (name, plan)
    (plan,) = json.loads(
        await connection.fetchval("EXPLAIN (ANALYZE, FORMAT JSON) SELECT name FROM repositories")
    )
    assert most_rows(plan["Plan"]) == MANY, "what reads everything is noticed"
    await connection.close()


def most_rows(node: dict[str, Any]) -> int:
    """Return the most rows that a step of the plan read."""
    own = int(node["Actual Rows"]) + int(node.get("Rows Removed by Filter", 0))
    return max([own, *map(most_rows, node.get("Plans", []))])
