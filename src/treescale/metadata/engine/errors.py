"""What a driver's error means, in one place: ours to report, worth another try, or a bug.

SQLite errors carry a name (SQLITE_BUSY), PostgreSQL's an SQLSTATE; texts are never looked at.
What neither table knows is a bug in a statement and goes up as it is.
"""

from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from treescale.errors import DatabaseTrouble, DatabaseUnavailable, StoreFull, TreeScaleError
from treescale.metadata.engine.address import Address

_FULL: Final = "the database's disk is full: make room on it"
READ_ONLY_TEXT: Final = (
    "the database cannot be written: check its file's permissions, or its server"
)
_BUSY: Final = "the database is busy: another process has held its lock for too long"
_DAMAGED: Final = "the database file is damaged: restore it from a backup"
_DISK: Final = "the database's disk fails: look at the system's log"
_DISK_OF_SERVER: Final = "the database server's disk fails: look at its log"
_PASSWORD: Final = "the database refuses our user or password: check both in its URL"  # noqa: S105  words
_HBA: Final = "the database refuses us: no line of its pg_hba.conf lets us in"
_ABSENT: Final = "the server has no database of this name: create it first"
_LATE: Final = "the database took too long"
_INTERFERED: Final = "the database is too busy: other writers kept interfering"
_EXHAUSTED: Final = "the database has no connection or memory left for us"
_UNREACHABLE: Final = "the database does not answer: check that it runs and can be reached"
_UNUSABLE: Final = "the database's URL asks for what cannot be done here"
_LOGINS_UNKNOWN: Final = ("gssapi module not found", "unsupported authentication method")
"""How the driver begins to say that it knows no such way to log in: Kerberos for one."""
_CLOSED: Final = "the database cannot be opened: check that its directory exists and is readable"
_TROUBLES: Final = {
    READ_ONLY_TEXT: DatabaseTrouble.READ_ONLY,
    _BUSY: DatabaseTrouble.BUSY,
    _DAMAGED: DatabaseTrouble.DAMAGED,
    _DISK: DatabaseTrouble.FAILING,
    _DISK_OF_SERVER: DatabaseTrouble.FAILING,
    _CLOSED: DatabaseTrouble.MOVED,
    _PASSWORD: DatabaseTrouble.REFUSED,
    _HBA: DatabaseTrouble.REFUSED,
    _ABSENT: DatabaseTrouble.REFUSED,
    _LATE: DatabaseTrouble.BUSY,
    _INTERFERED: DatabaseTrouble.BUSY,
    _EXHAUSTED: DatabaseTrouble.BUSY,
}
"""What stands for it where no more may be said; else it is silent."""

_SQLITE: Final[dict[str, tuple[type[TreeScaleError], str]]] = {
    "SQLITE_BUSY": (DatabaseUnavailable, _BUSY),
    "SQLITE_LOCKED": (DatabaseUnavailable, _BUSY),
    "SQLITE_PROTOCOL": (DatabaseUnavailable, _BUSY),
    "SQLITE_FULL": (StoreFull, _FULL),
    "SQLITE_READONLY": (DatabaseUnavailable, READ_ONLY_TEXT),
    "SQLITE_PERM": (DatabaseUnavailable, READ_ONLY_TEXT),
    "SQLITE_CANTOPEN": (DatabaseUnavailable, _CLOSED),
    "SQLITE_IOERR": (DatabaseUnavailable, _DISK),
    "SQLITE_CORRUPT": (DatabaseUnavailable, _DAMAGED),
    "SQLITE_NOTADB": (DatabaseUnavailable, _DAMAGED),
    "SQLITE_NOMEM": (DatabaseUnavailable, "the database ran out of memory"),
}
# By SQLSTATE or, shorter, by its class.
_POSTGRESQL: Final[dict[str, tuple[type[TreeScaleError], str]]] = {
    "53100": (StoreFull, _FULL),
    "53": (DatabaseUnavailable, _EXHAUSTED),
    "25006": (DatabaseUnavailable, READ_ONLY_TEXT),
    "08": (DatabaseUnavailable, _UNREACHABLE),
    "28P01": (DatabaseUnavailable, _PASSWORD),
    "28": (DatabaseUnavailable, _HBA),
    "3D000": (DatabaseUnavailable, _ABSENT),
    "40": (DatabaseUnavailable, _INTERFERED),
    "55P03": (DatabaseUnavailable, _BUSY),
    "57014": (DatabaseUnavailable, _LATE),
    "57P": (DatabaseUnavailable, _UNREACHABLE),
    "58": (DatabaseUnavailable, _DISK_OF_SERVER),
    "XX001": (DatabaseUnavailable, _DAMAGED),
    "XX002": (DatabaseUnavailable, _DAMAGED),
}
_SILENT: Final = ("08", "57P")
_UNDONE: Final = frozenset({"40001", "40P01"})
_READ_ONLY: Final = "25006"


def translate(error: Exception) -> Exception:
    """Return the error of our tree for a driver's error; `error` itself when it is a bug.

    SQLAlchemy may have wrapped it, or not.
    """
    if isinstance(error, PoolTimeout | OSError | TimeoutError):
        return DatabaseUnavailable(_UNREACHABLE)
    name = getattr(getattr(error, "orig", error), "sqlite_errorname", None)
    if name is not None:
        return _known(_SQLITE, _prefixes(name, "_"), error)
    if state := _state(error):
        return _known(_POSTGRESQL, [state, state[:3], state[:2]], error)
    if _is_unusable(_first(error)):
        return DatabaseUnavailable(_UNUSABLE)
    lost = disconnected(error) or is_lost(error)
    return DatabaseUnavailable(_UNREACHABLE) if lost else error


def _is_unusable(error: object) -> bool:
    """Say whether the driver cannot do what the URL, or the server's list of users, asks for."""
    if _is_drivers(error, "ClientConfigurationError"):
        return True
    return _is_drivers(error, "InterfaceError") and str(error).startswith(_LOGINS_UNKNOWN)


def _is_drivers(error: object, name: str) -> bool:
    """Say whether an error is of asyncpg's class of this name, or of one derived from it.

    Told by name: whoever has SQLite does not import the driver.
    """
    return any(
        each.__name__ == name and each.__module__.startswith("asyncpg.")
        for each in type(error).__mro__
    )


def located(
    away: DatabaseUnavailable, cause: BaseException | None, address: Address
) -> DatabaseUnavailable:
    """Return the error as whoever wrote the URL must see it: with the server, and what it said.

    For a start and for commands alone: clients of the registry are told of neither.
    """
    if address.path is not None or cause is None:
        return away
    first = _first(cause)
    said = getattr(first, "strerror", None) or str(first) or "no answer in time"
    return DatabaseUnavailable(
        f"{away} ({address.place}, database {address.url.database}: {' '.join(str(said).split())})",
        away.trouble,
    )


def is_retryable(error: Exception) -> bool:
    """Return whether the database itself undid the transaction (deadlock, serialization)."""
    return _state(error) in _UNDONE


def is_locked_out(error: Exception) -> bool:
    """Return whether somebody else kept a lock for longer than we wait (PostgreSQL)."""
    return _state(error) == "55P03"


def disconnected(error: Exception) -> bool:
    """Return whether the connection was lost, so that what was not committed is undone."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_read_only(error: Exception) -> bool:
    """Return whether a write was refused because the server takes none: nothing was written."""
    return _state(error) == _READ_ONLY


def is_lost(error: Exception) -> bool:
    """Return whether the server has given up the connection, or is about to.

    The driver tells of a goodbye that it hears between two of its messages as an error of its own.
    """
    return _state(error).startswith(_SILENT) or _is_drivers(_first(error), "InternalClientError")


def silent(error: Exception) -> bool:
    """Return whether no answer came, so that the database may be away; a refusal is an answer.

    `error` is SQLAlchemy's, the driver's own, or ours.
    """
    if isinstance(error, PoolTimeout | OSError | DatabaseUnavailable):
        return True
    return disconnected(error) or is_lost(error)


def _state(error: Exception) -> str:
    """Return the SQLSTATE of SQLAlchemy's error, or the driver's own; "" without one."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(orig, "sqlstate", None) or "")


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
            trouble = _TROUBLES.get(message)
            return DatabaseUnavailable(message, trouble) if trouble else kind(message)
    return error


def _prefixes(name: str, joint: str) -> list[str]:
    """Return `name` and its shorter forms: SQLITE_IOERR_WRITE, SQLITE_IOERR, SQLITE."""
    words = name.split(joint)
    return [joint.join(words[:count]) for count in range(len(words), 0, -1)]
