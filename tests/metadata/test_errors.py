"""Drivers' errors become errors of our tree, and bugs stay bugs."""

import pytest
from asyncpg.exceptions import ClientConfigurationError, InterfaceError, InternalClientError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tests.tables import each_row
from treescale.errors import DatabaseUnavailable, StoreFull
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.errors import (
    disconnected,
    is_lost,
    is_retryable,
    located,
    silent,
    translate,
)


class DriverError(Exception):
    """What a driver raises: SQLite's errors have a name, PostgreSQL's a state."""

    def __init__(self, *, name: str | None = None, state: str | None = None) -> None:
        super().__init__(name or state)
        if name is not None:
            self.sqlite_errorname = name
        if state is not None:
            self.sqlstate = state


def wrapped(error: DriverError, *, invalidated: bool = False) -> DBAPIError:
    return DBAPIError("SELECT 1", {}, error, connection_invalidated=invalidated)


@each_row(
    ("name", "kind", "says"),
    [
        ("SQLITE_BUSY", DatabaseUnavailable, "busy"),
        ("SQLITE_BUSY_SNAPSHOT", DatabaseUnavailable, "busy"),
        ("SQLITE_LOCKED", DatabaseUnavailable, "busy"),
        ("SQLITE_FULL", StoreFull, "full"),
        ("SQLITE_READONLY", DatabaseUnavailable, "cannot be written"),
        ("SQLITE_READONLY_DBMOVED", DatabaseUnavailable, "cannot be written"),
        ("SQLITE_IOERR_WRITE", DatabaseUnavailable, "disk fails"),
        ("SQLITE_CORRUPT", DatabaseUnavailable, "damaged"),
        ("SQLITE_NOTADB", DatabaseUnavailable, "damaged"),
        ("SQLITE_CANTOPEN", DatabaseUnavailable, "cannot be opened"),
    ],
)
def test_sqlites_names(name: str, kind: type[Exception], says: str) -> None:
    error = translate(wrapped(DriverError(name=name)))
    assert type(error) is kind
    assert says in str(error)


@each_row(
    ("state", "kind", "says"),
    [
        ("53100", StoreFull, "full"),
        ("53300", DatabaseUnavailable, "connection"),
        ("25006", DatabaseUnavailable, "cannot be written"),
        ("08006", DatabaseUnavailable, "does not answer"),
        ("57P01", DatabaseUnavailable, "does not answer"),
        ("57014", DatabaseUnavailable, "too long"),
        ("28P01", DatabaseUnavailable, "password"),
        ("28000", DatabaseUnavailable, "pg_hba.conf"),
        ("3D000", DatabaseUnavailable, "create it"),
        ("40P01", DatabaseUnavailable, "too busy"),
        ("55P03", DatabaseUnavailable, "busy"),
    ],
)
def test_postgresqls_states(state: str, kind: type[Exception], says: str) -> None:
    error = translate(wrapped(DriverError(state=state)))
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), PoolTimeout()])
def test_no_connection_at_all(error: Exception) -> None:
    assert isinstance(translate(error), DatabaseUnavailable)


def test_a_certificate_that_is_not_there_is_no_bug() -> None:
    missing = DriverError()
    missing.__cause__ = ClientConfigurationError("root certificate file does not exist")
    assert "URL" in str(translate(wrapped(missing)))


@pytest.mark.parametrize(
    "said",
    [
        "gssapi module not found; please …",
        "unsupported authentication method requested by the server: 'gss'",
    ],
)
def test_a_server_that_wants_another_way_to_log_in_is_no_bug(said: str) -> None:
    refused = DriverError()
    refused.__cause__ = InterfaceError(said)
    assert "URL" in str(translate(wrapped(refused)))
    refused.__cause__ = InterfaceError("cannot perform operation: another operation is in progress")
    error = wrapped(refused)
    assert translate(error) is error


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "Connect call failed"),
        (TimeoutError(), "no answer in time"),
        (wrapped(DriverError(state="28000")), "28000"),
    ],
)
def test_a_start_says_which_database_and_what_it_said(cause: Exception, said: str) -> None:
    away = translate(cause)
    assert isinstance(away, DatabaseUnavailable)
    address = parse_address("postgresql://me:secret@db.example/ours")
    told = str(located(away, cause, address))
    assert told == f"{away} (db.example:5432, database ours: {said})"
    assert "secret" not in told
    assert located(away, cause, parse_address("sqlite:///a.db")) is away
    assert located(away, None, address) is away


def test_a_goodbye_between_two_messages_is_no_bug() -> None:
    """asyncpg: cannot switch to state 12; another operation (2) is in progress."""
    raw = InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    orig = DriverError()
    orig.__cause__ = raw
    for error in (raw, wrapped(orig)):
        assert isinstance(translate(error), DatabaseUnavailable)
        assert is_lost(error)
        assert silent(error)


def test_a_connection_lost_without_a_word() -> None:
    assert isinstance(translate(wrapped(DriverError(), invalidated=True)), DatabaseUnavailable)


@each_row(
    "bug",
    [
        wrapped(DriverError(name="SQLITE_CONSTRAINT_UNIQUE")),
        wrapped(DriverError(name="SQLITE_ERROR")),
        wrapped(DriverError(state="23505")),
        wrapped(DriverError(state="42601")),
        wrapped(DriverError()),
        ValueError(),
    ],
    ids=str,
)
def test_a_bug_stays_a_bug(bug: Exception) -> None:
    assert translate(bug) is bug
    assert not is_retryable(bug)
    assert not disconnected(bug)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_what_the_database_undid_may_run_again(state: str) -> None:
    assert is_retryable(wrapped(DriverError(state=state)))
    assert disconnected(wrapped(DriverError(state="08006"), invalidated=True))
