"""The SQLite file that a database has moved away from: no server may run from it any more."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

from treescale.chunks.disk.lock import DirectoryLock
from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.maintenance.backup.records import Header
from treescale.metadata.portable.last_backup import NAME, read_note
from treescale.metadata.portable.snapshot import cluster_of

MOVED: Final = ".moved"
_WAIT_SECONDS: Final = 10.0
_KEY: Final = "SELECT secret FROM peer_keys ORDER BY number LIMIT 1"
_COMMITS: Final = "SELECT value FROM counters WHERE name = 'commits'"
_NOTE: Final = f"SELECT value FROM settings WHERE name = '{NAME}'"  # noqa: S608  a constant


@asynccontextmanager
async def leaving(header: Header, lock: DirectoryLock) -> AsyncIterator[Path | None]:
    """Have the old file, alone; it is set aside, under what is yielded, when the block ends well.

    None when the backup is not of a file, or that file is not on this machine. Raises StoreUnusable
    while a server runs there, SettingInvalid when something was written since the backup: it would
    be missing in the new database.
    """
    old = Path(header.file or "")
    if header.file is None or not await asyncio.to_thread(_is_there, old, header):
        yield None
        return
    new = old.with_name(old.name + MOVED)
    await lock.take([str(old.parent)])
    held = await asyncio.to_thread(_held, old)
    try:
        await asyncio.to_thread(_check, old, new, header)
        yield new
        await asyncio.to_thread(_set_aside, old, new)
    finally:
        held.close()


def _is_there(old: Path, header: Header) -> bool:
    """Say whether the file of that cluster is there still; another machine may have another's."""
    if not old.exists():
        return False
    return cluster_of(_asked(old, _KEY)) == header.cluster


def _check(old: Path, new: Path, header: Header) -> None:
    if new.exists():
        raise SettingInvalid(f"{new} is there already: move it away first")
    if header.commits is None:
        raise SettingInvalid(
            f"{old} is of a version that does not number what it writes, so nobody can tell "
            "whether something was written since the backup: start this version on it once, "
            "stop it, make another backup, and restore that"
        )
    if not _is_as_it_was(old, header.commits):
        raise SettingInvalid(
            f"{old} is not what it was when the backup was made: something was written since, and "
            "would be left behind. Stop the server, make another backup, and restore that"
        )


def _is_as_it_was(old: Path, commits: int) -> bool:
    """Say whether nothing was written since, but that there is a backup."""
    since = (_asked(old, _COMMITS) or 0) - commits
    if since != 1:
        return since == 0
    noted = read_note(_asked(old, _NOTE))
    return noted is not None and noted.commits == commits


def _asked(old: Path, statement: str) -> Any:
    try:
        with closing(_opened(old)) as connection:
            row = connection.execute(statement).fetchone()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(
            f"{old}, of which the backup is, cannot be read: {error}"
        ) from error
    return None if row is None else row[0]


def _held(old: Path) -> sqlite3.Connection:
    """Return what keeps everybody from writing: servers whose data are elsewhere, and commands."""
    try:
        connection = _opened(old)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise DatabaseUnavailable(
            f"{old}, of which the backup is, cannot be locked: {error}"
        ) from error
    return connection


def _set_aside(old: Path, new: Path) -> None:
    """Rename the file, and its log if there is one; nobody writes to it meanwhile."""
    old.rename(new)
    log = old.with_name(f"{old.name}-wal")
    if log.exists() and not log.stat().st_size:
        log.unlink()
    elif log.exists():
        log.rename(new.with_name(f"{new.name}-wal"))
    for end in ("-shm", "-clean"):
        old.with_name(old.name + end).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=_WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
