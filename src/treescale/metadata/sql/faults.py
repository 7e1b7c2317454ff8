"""What a driver's error means, in one place: ours to report, worth another try, or a bug.

SQLite errors carry a name (SQLITE_BUSY), PostgreSQL's an SQLSTATE; texts are never looked at.
What neither table knows is a bug in a statement and goes up as it is.
"""

from typing import Final

from asyncpg.exceptions import ClientConfigurationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from treescale.errors import DatabaseAway, StoreFull, TreeScaleError
from treescale.metadata.sql.address import Address

_FULL: Final = "the database's disk is full: make room on it"
_READ_ONLY: Final = "the database cannot be written: check its file's permissions, or its server"
_BUSY: Final = "the database is busy: another process has held its lock for too long"
_DAMAGED: Final = "the database file is damaged: restore it from a backup"
_UNREACHABLE: Final = "the database does not answer: check that it runs and can be reached"
_UNUSABLE: Final = "the database's URL asks for what cannot be done here"
_CLOSED: Final = "the database cannot be opened: check that its directory exists and is readable"

_SQLITE: Final[dict[str, tuple[type[TreeScaleError], str]]] = {
    "SQLITE_BUSY": (DatabaseAway, _BUSY),
    "SQLITE_LOCKED": (DatabaseAway, _BUSY),
    "SQLITE_PROTOCOL": (DatabaseAway, _BUSY),
    "SQLITE_FULL": (StoreFull, _FULL),
    "SQLITE_READONLY": (DatabaseAway, _READ_ONLY),
    "SQLITE_PERM": (DatabaseAway, _READ_ONLY),
    "SQLITE_CANTOPEN": (DatabaseAway, _CLOSED),
    "SQLITE_IOERR": (DatabaseAway, "the database's disk fails: look at the system's log"),
    "SQLITE_CORRUPT": (DatabaseAway, _DAMAGED),
    "SQLITE_NOTADB": (DatabaseAway, _DAMAGED),
    "SQLITE_NOMEM": (DatabaseAway, "the database ran out of memory"),
}
# By SQLSTATE or, shorter, by its class.
_POSTGRESQL: Final[dict[str, tuple[type[TreeScaleError], str]]] = {
    "53100": (StoreFull, _FULL),
    "53": (DatabaseAway, "the database has no connection or memory left for us"),
    "25006": (DatabaseAway, _READ_ONLY),
    "08": (DatabaseAway, _UNREACHABLE),
    "28P01": (DatabaseAway, "the database refuses our user or password: check both in its URL"),
    "28": (DatabaseAway, "the database refuses us: no line of its pg_hba.conf lets us in"),
    "3D000": (DatabaseAway, "the server has no database of this name: create it first"),
    "40": (DatabaseAway, "the database is too busy: other writers kept interfering"),
    "55P03": (DatabaseAway, _BUSY),
    "57014": (DatabaseAway, "the database took too long"),
    "57P": (DatabaseAway, _UNREACHABLE),
    "58": (DatabaseAway, "the database server's disk fails: look at its log"),
    "XX001": (DatabaseAway, _DAMAGED),
    "XX002": (DatabaseAway, _DAMAGED),
}
_PORT: Final = 5432
_SILENT: Final = ("08", "57P")
_UNDONE: Final = frozenset({"40001", "40P01"})


def meaning(error: Exception) -> Exception:
    """Return the error of our tree for a driver's error; `error` itself when it is a bug."""
    if isinstance(error, PoolTimeout | OSError | TimeoutError):
        return DatabaseAway(_UNREACHABLE)
    if not isinstance(error, DBAPIError):
        return error
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return _known(_SQLITE, _prefixes(name, "_"), error)
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _known(_POSTGRESQL, [state, state[:3], state[:2]], error)
    if isinstance(_first(error), ClientConfigurationError):
        return DatabaseAway(_UNUSABLE)
    return DatabaseAway(_UNREACHABLE) if error.connection_invalidated else error


def located(away: DatabaseAway, cause: BaseException | None, address: Address) -> DatabaseAway:
    """Return the error as whoever wrote the URL must see it: with the server, and what it said.

    For a start and for commands alone: clients of the registry are told of neither.
    """
    if address.path is not None or cause is None:
        return away
    first = _first(cause)
    said = getattr(first, "strerror", None) or str(first) or "no answer in time"
    where = f"{address.url.host or 'this machine'}:{address.url.port or _PORT}"
    return DatabaseAway(
        f"{away} ({where}, database {address.url.database}: {' '.join(str(said).split())})"
    )


def undone(error: Exception) -> bool:
    """Return whether the database itself undid the transaction (deadlock, serialization)."""
    orig = error.orig if isinstance(error, DBAPIError) else None
    return getattr(orig, "sqlstate", None) in _UNDONE


def disconnected(error: Exception) -> bool:
    """Return whether the connection was lost, so that what was not committed is undone."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def silent(error: Exception) -> bool:
    """Return whether no answer came, so that the database may be away; a refusal is an answer."""
    if isinstance(error, PoolTimeout | OSError | DatabaseAway):
        return True
    orig = error.orig if isinstance(error, DBAPIError) else None
    state = str(getattr(orig, "sqlstate", None) or "")
    return disconnected(error) or state.startswith(_SILENT)


def _first(error: BaseException) -> BaseException:
    """Return what the driver raised: SQLAlchemy wraps it, sometimes twice."""
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    return error.__cause__ or error


def _known(
    table: dict[str, tuple[type[TreeScaleError], str]], keys: list[str], error: Exception
) -> Exception:
    for key in keys:
        if key in table:
            kind, message = table[key]
            return kind(message)
    return error


def _prefixes(name: str, joint: str) -> list[str]:
    """Return `name` and its shorter forms: SQLITE_IOERR_WRITE, SQLITE_IOERR, SQLITE."""
    words = name.split(joint)
    return [joint.join(words[:count]) for count in range(len(words), 0, -1)]
