"""SQLite's file, watched: a database that was unlinked, replaced or damaged is not used any more.

SQLite keeps writing to a file that has lost its name, and all that was acknowledged since then is
gone with the process. So the file is *pinned*: device and inode are those it had when the server
started, and every transaction looks whether the path still leads there, before it begins and once
more after its commit, before anybody is told. What one process of a server finds out all know at
once, by memory they share.

Only `stat` looks at the file: opening and closing it beside SQLite would end the locks that SQLite
has on it in this process.
"""

import mmap
import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from typing import Final

from treescale.errors import DatabaseTrouble, DatabaseUnavailable

ROOM_BYTES_MIN: Final = 16 * 1024 * 1024
"""So much must be free beside the file, for its log of writes."""
VERIFY_PAUSE_SECONDS: Final = 10.0
"""Between two checks of a file that was found damaged: somebody may have mended it in place."""
_ABSENT: Final = "the database cannot be opened: check that its file exists and is readable"
_GONE: Final = "the database file is not where it was: put it back, or restart the server"
_REPLACED: Final = (
    "another file is in the place of the database: put the old one back, or restart the server"
)
_CUT: Final = "the database file was cut short: restore it from a backup, and restart the server"
_DAMAGED: Final = "the database file is damaged: restore it from a backup, and restart the server"
_LOG_GONE: Final = (
    "the log of writes beside the database file (-wal) was removed or replaced: "
    "restart the server, before anything else is written"
)
_READ_ONLY: Final = "the database's file system is read-only"


Place = tuple[int, int]
"""Device and inode."""


class State(IntEnum):
    """What is known of the file, as it stands in the shared memory."""

    SOUND = 0
    GONE = 1
    REPLACED = 2
    CUT = 3
    DAMAGED = 4


_WHY: Final = {
    State.GONE: (_GONE, DatabaseTrouble.MOVED),
    State.REPLACED: (_REPLACED, DatabaseTrouble.MOVED),
    State.CUT: (_CUT, DatabaseTrouble.DAMAGED),
    State.DAMAGED: (_DAMAGED, DatabaseTrouble.DAMAGED),
}
_PLACE: Final = 0
_DAMAGE: Final = 1
_VERIFY_AT: Final = 2
_MOMENT: Final = struct.Struct("=d")


class DatabaseFile:
    """One database file, for all processes that are forked after this was made."""

    def __init__(self, path: Path, *, only_read: bool = False) -> None:
        """With `only_read` a log that is there stays a log, whoever's it is: see `as_it_is`."""
        self.path = path.absolute()
        self._uri = f"{self.path.as_uri()}?mode={'ro' if only_read else 'rw'}"
        self._pinned: Place | None = None
        self._filled = False
        self._known = mmap.mmap(-1, 2 + 8)  # shared with forks

    def pin(self) -> None:
        """Take the file that is there for the database; raises DatabaseUnavailable without one."""
        self._pinned = None
        self.look()

    def connect(self, **options: object) -> sqlite3.Connection:
        """Return a connection to the file; an absent one is not made.

        Raises sqlite3.Error, and DatabaseUnavailable when another file is there.
        """
        self.look()
        open_: Callable[..., sqlite3.Connection] = sqlite3.connect
        connection = open_(self._uri, uri=True, **options)
        try:
            self.look()
        except DatabaseUnavailable:
            connection.close()
            raise
        return connection

    def check_place(self) -> None:
        """Raise DatabaseUnavailable when the path is known to lead elsewhere; from memory."""
        self._refuse(self._known[_PLACE])

    def look(self) -> None:
        """Look where the path leads, and raise DatabaseUnavailable when it is not to our file."""
        state = self._stat()
        if self._pinned is None:
            raise DatabaseUnavailable(_ABSENT, DatabaseTrouble.MOVED)
        self._known[_PLACE] = state
        self._refuse(state)

    def check_writable(self) -> None:
        """Look, and raise DatabaseUnavailable also when the file is known to be damaged."""
        self.look()
        self._refuse(self._known[_DAMAGE])

    def log_place(self) -> Place | None:
        """Return where SQLite's log of writes is; None without one."""
        try:
            found = os.stat(f"{self.path}-wal")  # noqa: PTH116  each commit asks twice
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @property
    def is_damaged(self) -> bool:
        """Say whether some process has found it damaged."""
        return self._known[_DAMAGE] != State.SOUND

    def damaged(self) -> None:
        """Note that SQLite has found it damaged: nothing is written to it any more."""
        self._known[_DAMAGE] = State.DAMAGED

    def claim_verify(self, now: float) -> bool:
        """Say whether to `verify` a damaged file now: then no other process does for a while."""
        (due,) = _MOMENT.unpack_from(self._known, _VERIFY_AT)
        if not self.is_damaged or now < due:
            return False
        _MOMENT.pack_into(self._known, _VERIFY_AT, now + VERIFY_PAUSE_SECONDS)
        return True

    def verify(self) -> None:
        """Have SQLite check the whole file; when it is sound it is written to again.

        Blocks, for as long as it takes to read the file. Raises sqlite3.Error, DatabaseUnavailable.
        """
        with closing(self.connect(timeout=1.0)) as connection:
            if damage(connection):
                self.damaged()
                self._refuse(State.DAMAGED)
        self._known[_DAMAGE] = State.SOUND

    def check_room(self) -> None:
        """Raise DatabaseUnavailable when the file system cannot be written, or is full."""
        try:
            space = os.statvfs(self.path.parent)
        except OSError as error:
            raise DatabaseUnavailable(_GONE, DatabaseTrouble.MOVED) from error
        if space.f_flag & os.ST_RDONLY:
            raise DatabaseUnavailable(_READ_ONLY, DatabaseTrouble.READ_ONLY)
        free = space.f_bavail if os.geteuid() else space.f_bfree
        if free * space.f_frsize < ROOM_BYTES_MIN:
            raise DatabaseUnavailable("the database's disk is full", DatabaseTrouble.FULL)

    def _stat(self) -> State:
        try:
            found = self.path.stat()
        except OSError:
            return State.GONE
        place = found.st_dev, found.st_ino
        if self._pinned is None:
            self._pinned = place
        if place != self._pinned:
            return State.REPLACED
        if self._filled and not found.st_size:
            return State.CUT
        self._filled = found.st_size > 0
        return State.SOUND

    @staticmethod
    def _refuse(state: int) -> None:
        if state != State.SOUND:
            why, trouble = _WHY[State(state)]
            raise DatabaseUnavailable(why, trouble)


def log_gone() -> DatabaseUnavailable:
    """Return the error of a log of writes that is not the one that was opened."""
    return DatabaseUnavailable(_LOG_GONE, DatabaseTrouble.MOVED)


def damage(connection: sqlite3.Connection) -> str:
    """Return what SQLite finds wrong with a database, "" when nothing. Reads all of it."""
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        raise
    return "" if found == "ok" else str(found)


def is_damage(error: BaseException | None) -> bool:
    """Say whether an error of SQLite means that the file is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def as_it_is(path: Path) -> DatabaseFile:
    """Return a file for whoever only looks: its log is read, and not written into it.

    SQLite would do that as the last one closes the file, also with a log that another file left,
    which the start of a server refuses. Without a log nothing is to be kept, and nothing stays.
    """
    log = path.with_name(f"{path.name}-wal")
    return DatabaseFile(path, only_read=log.exists() and log.stat().st_size > 0)
