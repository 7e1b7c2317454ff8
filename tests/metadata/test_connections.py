"""Transactions are whole or not at all: faults made on real databases, retries, cancellation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, small
from tests.metadata.held import Held
from tests.postgres import CUT, EMPTIED, ROLE, Postgres
from treescale.errors import BlobUnknown, DatabaseTrouble, DatabaseUnavailable, StoreFull
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import postgresql, sqlite_writer
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.postgresql import ATTEMPTS_MAX

INSERT = text("INSERT INTO settings (name, value) VALUES (:name, '')")
UPDATE = text("UPDATE settings SET value = value WHERE name = :name")
COUNT = text("SELECT count(*) FROM settings")
SECONDS_MAX = 60
UNDO_COMMIT = (
    (
        "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = '40001'; END $$"
    ),
    (
        "CREATE CONSTRAINT TRIGGER undo AFTER INSERT ON settings DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION undo()"
    ),
)
UNDO_READS = (
    "CREATE SEQUENCE undone",
    (
        "CREATE FUNCTION undone_twice() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; "
        "BEGIN n := nextval('undone'); IF n < 3 THEN "
        "RAISE EXCEPTION 'undone' USING ERRCODE = '40001'; END IF; RETURN n; END $$"
    ),
)


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(sqlite_url))
    yield opened
    await opened.close()


@pytest.fixture
async def post(postgres_url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(postgres_url))
    yield opened
    await opened.close()


@pytest.fixture(params=["lite", pytest.param("post", marks=pytest.mark.long)])
def both(request: pytest.FixtureRequest) -> Connections:
    found: Connections = request.getfixturevalue(request.param)
    return found


async def count(where: Connections) -> int:
    row = await where.row(COUNT)
    assert row is not None
    return int(row[0])


async def test_an_error_undoes_the_whole_write(both: Connections) -> None:
    def work(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "a"})
        raise BlobUnknown("after a write")

    with pytest.raises(BlobUnknown):
        await both.write(work)
    assert await count(both) == 0


async def test_a_bug_is_not_hidden(both: Connections) -> None:
    with pytest.raises(DBAPIError):
        await both.rows(text("SELECT nonsense"))
    with pytest.raises(DBAPIError):
        await both.change(text("UPDATE nonsense SET a = 1"))
    assert await both.change(INSERT, {"name": "a"}) == 1


async def test_a_cancelled_write_leaves_nothing_and_blocks_nobody(post: Connections) -> None:
    written = asyncio.Event()

    def hang(connection: Connection) -> None:
        connection.execute(INSERT, {"name": "a"})
        written.set()
        await_only(asyncio.Event().wait())

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        task = group.create_task(post.write(hang))
        await written.wait()
        assert await count(post) == 0
        task.cancel()
    assert await post.change(INSERT, {"name": "a"}) == 1


def hold(connection: Connection) -> None:
    connection.execute(INSERT, {"name": "held"})


async def test_a_write_cancelled_in_the_queue_never_runs(lite: Connections) -> None:
    held = Held(hold)
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        group.create_task(lite.write(held))
        await held.begun.wait()
        queued = group.create_task(lite.change(INSERT, {"name": "a"}))
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.wait([queued])
        held.go.set()
    assert await count(lite) == 1


async def test_a_write_cancelled_as_it_runs_has_ended_when_its_caller_goes_on(
    lite: Connections,
) -> None:
    held = Held(hold)
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        running = group.create_task(lite.write(held))
        await held.begun.wait()
        running.cancel()
        await asyncio.sleep(0)
        assert not running.done()
        held.go.set()
    assert running.cancelled()
    assert await count(lite) == 1


async def test_writers_wait_only_so_long(
    lite: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(hold)
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        group.create_task(lite.write(held))
        await held.begun.wait()
        monkeypatch.setattr(sqlite_writer, "QUEUE_SECONDS_MAX", 0.0)
        with pytest.raises(DatabaseUnavailable, match="waiting"):
            await lite.change(INSERT, {"name": "a"})
        held.go.set()


async def test_postgresql_writers_wait_only_so_long(
    post: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "QUEUE_SECONDS_MAX", 0.0)
    monkeypatch.setattr(post._driver, "_turn", asyncio.Semaphore(0))
    with pytest.raises(DatabaseUnavailable, match="waiting"):
        await post.change(INSERT, {"name": "a"})


async def pragma(where: Connections, words: str) -> None:
    await where.change(text(f"PRAGMA {words}"))


async def test_a_full_disk_refuses_and_recovers(lite: Connections) -> None:
    database = Database(lite)
    await pragma(lite, "max_page_count=1")
    with pytest.raises(StoreFull, match="make room"):
        await database.blobs.commit(
            APP, small(1, b"x" * 100_000), upload_id=None, now=NOW, actor=ACTOR
        )
    with pytest.raises(BlobUnknown):
        await database.blobs.find(APP, digest(1))
    await pragma(lite, "max_page_count=1000000")
    await database.blobs.commit(APP, small(1, b"x" * 100_000), upload_id=None, now=NOW, actor=ACTOR)


async def test_a_database_that_cannot_be_written(lite: Connections) -> None:
    await pragma(lite, "query_only=ON")
    with pytest.raises(DatabaseUnavailable, match="cannot be written"):
        await Database(lite).settings.put("a", "b")


async def test_no_file(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/absent/treescale.db")
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        await database.ping()
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        await database.settings.put("a", "b")


async def test_each_commit_is_synced(lite: Connections) -> None:
    def level(connection: Connection) -> list[object]:
        words = ("synchronous", "journal_mode", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {word}").scalar_one() for word in words]

    assert await lite.write(level) == [2, "wal", 1]
    assert await lite.write(level, durable=False) == [1, "wal", 1]
    assert await lite.write(level) == [2, "wal", 1]


async def test_postgresql_commits_durably(post: Connections) -> None:
    for words, value in (
        ("synchronous_commit", "on"),
        ("transaction_isolation", "read committed"),
        ("lock_timeout", "10s"),
    ):
        row = await post.row(text(f"SHOW {words}"))
        assert row is not None
        assert row[0] == value


async def test_no_server(tmp_path: Path) -> None:
    database = open_database(f"postgresql://u@/db?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await database.ping()
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await database.settings.put("a", "b")


async def test_no_such_database(postgres: Postgres) -> None:
    database = open_database(postgres.url("nobody_made_this"))
    with pytest.raises(DatabaseUnavailable, match="create it first"):
        await database.ping()


async def cut(postgres: Postgres) -> None:
    """Close every connection of ours, as a restart of the server does."""
    await postgres.execute(EMPTIED, CUT)


async def test_a_restart_between_requests_goes_unnoticed(
    post: Connections, postgres: Postgres
) -> None:
    await post.change(INSERT, {"name": "a"})
    await cut(postgres)
    assert await count(post) == 1
    await cut(postgres)
    assert await post.change(INSERT, {"name": "b"}) == 1


async def test_a_connection_lost_in_the_middle_is_tried_again(
    post: Connections, postgres: Postgres
) -> None:
    attempts = 0

    def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        connection.execute(INSERT, {"name": "a"})
        if attempts < ATTEMPTS_MAX:
            await_only(cut(postgres))
        connection.execute(INSERT, {"name": "b"})

    await post.write(work)
    assert attempts == ATTEMPTS_MAX
    assert await count(post) == 2


async def test_but_not_for_ever(post: Connections, postgres: Postgres) -> None:
    attempts = 0

    def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await_only(cut(postgres))
        connection.execute(INSERT, {"name": "a"})

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await post.write(work)
    assert attempts == ATTEMPTS_MAX


async def test_a_connection_lost_at_the_commit_is_told(
    post: Connections, postgres: Postgres
) -> None:
    attempts = 0

    def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        connection.execute(INSERT, {"name": "a"})
        await_only(cut(postgres))

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await post.write(work)
    assert attempts == 1, "whether it took place is unknown, so it must not run again"


async def test_of_two_in_each_others_way_both_end_well(post: Connections) -> None:
    attempts = 0
    met = asyncio.Barrier(2)

    def work(connection: Connection, first: str, second: str) -> None:
        nonlocal attempts
        attempts += 1
        connection.execute(UPDATE, {"name": first})
        if attempts <= 2:
            await_only(met.wait())
        connection.execute(UPDATE, {"name": second})

    for name in ("a", "b"):
        await post.change(INSERT, {"name": name})
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        group.create_task(post.write(lambda connection: work(connection, "a", "b")))
        group.create_task(post.write(lambda connection: work(connection, "b", "a")))
    # Nearly always 3; nothing promises that the one undone does not meet the other once more.
    assert 3 <= attempts < 2 * ATTEMPTS_MAX


def undo(state: str) -> str:
    """Return a statement that has the database undo the transaction with such an error."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = '{state}'; END $$"


def undone_twice(state: str) -> Callable[[Connection], int]:
    """Return a write that meets the error in its first two attempts, when it has written."""
    attempts = 0

    def work(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        connection.execute(INSERT, {"name": "a"})
        if attempts <= 2:
            connection.exec_driver_sql(undo(state))
        return attempts

    return work


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_write_that_is_undone_twice_succeeds(post: Connections, state: str) -> None:
    assert await post.write(undone_twice(state)) == 3
    assert await count(post) == 1


async def test_which_it_does_not_without_another_attempt(
    post: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(postgresql, "ATTEMPTS_MAX", 1)
    with pytest.raises(DatabaseUnavailable, match="kept interfering"):
        await post.write(undone_twice("40001"))
    assert await count(post) == 0


async def test_a_commit_that_is_undone_is_tried_again(post: Connections) -> None:
    attempts = 0

    def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        connection.execute(INSERT, {"name": "a"})
        if attempts == 1:
            for statement in UNDO_COMMIT:
                connection.exec_driver_sql(statement)
            connection.execute(INSERT, {"name": "b"})

    await post.write(work)
    assert attempts == 2
    assert await count(post) == 1


async def test_a_read_that_is_undone_twice_succeeds(post: Connections, postgres: Postgres) -> None:
    """As on a standby, or where somebody has made SERIALIZABLE the default."""
    await postgres.execute(EMPTIED, *UNDO_READS)
    try:
        (row,) = await post.rows(text("SELECT undone_twice()"))
        assert row[0] == 3
    finally:
        await postgres.execute(EMPTIED, "DROP FUNCTION undone_twice", "DROP SEQUENCE undone")


@pytest.mark.parametrize("number", range(ATTEMPTS_MAX - 1))
def test_pauses_grow_and_differ(number: int) -> None:
    shortest, longest = postgresql.pause(number, 0.0), postgresql.pause(number, 1.0)
    assert 0 < shortest < longest < 0.5
    assert postgresql.pause(number + 1, 0.0) == 2 * shortest


async def test_too_many_connections_is_an_outage_and_no_bug(
    postgres_url: str, postgres: Postgres
) -> None:
    """53300: clients get a 503 that says when to try again."""
    assert EMPTIED in postgres_url
    await postgres.execute("postgres", "CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
    limited = connect(parse_address(postgres.url(EMPTIED).replace(ROLE, "limited", 1)))
    for asked in (limited.rows(COUNT), limited.change(INSERT, {"name": "a"})):
        with pytest.raises(DatabaseUnavailable, match="no connection or memory left") as caught:
            await asked
        assert caught.value.trouble is DatabaseTrouble.BUSY
    await limited.close()
    await postgres.execute("postgres", "DROP ROLE limited")


async def test_opening_all_beside_reads_leaves_the_writer_a_connection(lite: Connections) -> None:
    slow = text(
        "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 300000) "
        "SELECT count(*) FROM n"
    )
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        reads = [group.create_task(lite.rows(slow)) for _ in range(3)]
        await asyncio.sleep(0.02)
        watch = group.create_task(lite.run())
        await asyncio.gather(*reads)
        async with asyncio.timeout(SECONDS_MAX / 4):
            await lite.change(INSERT, {"name": "written"})
        watch.cancel()
