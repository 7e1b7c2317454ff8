"""Rows into a new SQLite file, which gets its name when all of them are in it.

Until then it is a draft beside it, that no server opens: so there is nothing to undo, and nothing
of it need be synced before its end. Indexes are made when the rows are in, which takes a fraction
of the time.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from treescale.errors import BackupInvalid, DatabaseUnavailable, SettingInvalid
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.sqlite import sqlite_writer
from treescale.metadata.migrations import make_tables, migrate, say_how_many, upgrade
from treescale.metadata.portable.loading import Change, check_empty, check_rows
from treescale.metadata.portable.tables import Carried, Values, quoted
from treescale.threads import Threads

DRAFT: Final = ".restoring"
BESIDE: Final = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, after its name."""
CACHE_KIB: Final = 65_536
_MODE: Final = 0o600  # the signing keys are in it
_WAIT_SECONDS: Final = 10.0
_QUICK: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = OFF",
    f"PRAGMA cache_size = -{CACHE_KIB}",
)
"""A draft that a crash damages is thrown away."""
_LATER: Final = (
    "SELECT type, name, sql FROM sqlite_schema "
    "WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, name"
)
_ADVICE: Final = "Name another one, or move that file away"


@asynccontextmanager
async def into_sqlite(path: Path, schema: str) -> AsyncIterator["_Draft"]:
    """Have a draft to fill; it is the database at `path` when the block has ended well.

    The path is absolute.
    """
    await asyncio.to_thread(_check_target, path)
    draft = path.with_name(path.name + DRAFT)
    _remove(draft)
    try:
        _create(draft)
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot make the database file {path}: {error.strerror}"
        ) from error
    filled = _Draft(draft)
    try:
        try:
            await filled.make(schema)
            yield filled
        finally:
            await filled.close()
        assert filled.finished, "nobody has said how many rows it has"
        await asyncio.to_thread(_rename, draft, path)
    finally:
        _remove(draft)


class _Draft:
    """Implements `Loading`. One thread does it all: whoever gives up waits until it is free."""

    def __init__(self, path: Path) -> None:
        self.finished = False
        self._url = f"sqlite:///{path}"
        self._path = path
        self._thread = Threads(1, "restore")
        self._file: sqlite3.Connection | None = None
        self._last_ids: dict[str, int] = {}
        self._later: list[tuple[str, str, str]] = []

    async def make(self, schema: str) -> None:
        """Make the tables, as that version had them."""
        await self._run(lambda: self._make(schema))

    async def begin(self, carried: Carried) -> None:
        """Make ready for the rows of a table."""
        if carried.table.dialect_options["sqlite"]["autoincrement"]:
            self._last_ids[carried.name] = carried.last_id

    async def add(self, carried: Carried, rows: Sequence[Values]) -> None:
        """Add rows to it."""
        marks = ", ".join("?" * len(carried.columns))
        insert = f'INSERT INTO "{carried.name}" ({quoted(carried.columns)}) VALUES ({marks})'  # noqa: S608  our names

        def work() -> None:
            # Its cursor ends here: one that another thread lets go of resets the statement, which
            # is kept for the next rows, while those are put.
            self._opened.executemany(insert, rows)

        await self._run(work)

    async def finish(self, rows: Mapping[str, int], change: Change) -> None:
        """Make the indexes, check it all, bring the tables up to date and change the rows."""
        await self._run(self._complete)
        await self._run(lambda: self._change(rows, change))
        await migrate(self._url)  # it also has it write ahead from now on
        self.finished = True

    async def close(self) -> None:
        """Let go of the file."""
        await self._run(self._close)
        self._thread.shutdown()

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._file is not None
        return self._file

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _make(self, schema: str) -> None:
        engine = sqlite_writer(parse_address(self._url), _WAIT_SECONDS)
        with _disposed(engine), engine.begin() as connection:
            make_tables(connection, schema)
        self._file = sqlite3.connect(self._path, isolation_level=None)
        for each in _QUICK:
            self._file.execute(each)
        self._later = self._file.execute(_LATER).fetchall()
        self._file.execute("BEGIN")
        for kind, name, _ in self._later:
            self._file.execute(f'DROP {kind} "{name}"')

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _complete(self) -> None:
        for table, last in self._last_ids.items():
            self._opened.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            self._opened.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, last))
        for _, _, statement in self._later:
            self._opened.execute(statement)
        self._opened.execute("COMMIT")
        alone = self._opened.execute("PRAGMA foreign_key_check").fetchone()
        if alone is not None:
            raise BackupInvalid(
                f"a row of {alone[0]} refers to one of {alone[2]} that is not there: the backup is "
                "not of one moment, or was altered"
            )
        self._close()

    def _change(self, rows: Mapping[str, int], change: Change) -> None:
        engine = sqlite_writer(parse_address(self._url), _WAIT_SECONDS)
        with _disposed(engine), engine.begin() as connection:
            check_rows(connection, rows)
            upgrade(connection)
            say_how_many(connection)  # an index that goes takes along what was said of it
            change(connection)


def _create(draft: Path) -> None:
    """Make an empty file, of whoever has the directory: a server is rarely root."""
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _MODE)
    try:
        if os.geteuid() == 0:
            directory = draft.parent.stat()
            os.fchown(fd, directory.st_uid, directory.st_gid)
    finally:
        os.close(fd)


def _check_target(path: Path) -> None:
    """Raise SettingInvalid unless there is no file, or one without rows."""
    if not path.parent.is_dir():
        raise SettingInvalid(f"there is no directory {path.parent}: make it first")
    if path.exists() and path.stat().st_size:
        engine = create_engine(parse_address(f"sqlite:///{path}").url, poolclass=NullPool)
        with _disposed(engine), engine.connect() as connection:
            check_empty(connection, str(path), _ADVICE)
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise SettingInvalid(
            f"{log} is the log of another database, which SQLite would mix into the restored one: "
            "move it away"
        )


def _rename(draft: Path, path: Path) -> None:
    """Give the draft its name, durably."""
    _check_target(path)  # nobody has made one meanwhile
    fd = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    for end in BESIDE[1:]:
        path.with_name(path.name + end).unlink(missing_ok=True)
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _remove(draft: Path) -> None:
    for end in BESIDE:
        draft.with_name(draft.name + end).unlink(missing_ok=True)


@contextmanager
def _disposed(engine: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.dispose()
