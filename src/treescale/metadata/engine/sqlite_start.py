"""SQLite's file before it is used: the one that was left, with its own log, and sound.

A *clean end* leaves no log of writes (`-wal`), and a note beside the file of what it was then:

    <file>-clean    {"place": [device, inode], "size": bytes, "changed": nanoseconds}

A start that finds this very file checks nothing. After any other end, and for a file that somebody
has changed or put there, SQLite checks it first. SQLite replays a log whatever file lies beside it:
a backup that was copied over a file whose log stayed is mixed with later pages. So a log that is
older than its file is not replayed, nor is one that does not go on where its file ends: commits are
numbered, and a log begins when all that came before is in the file. Nothing here writes to the
database: it is opened read-only.
"""

import json
import os
import shlex
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from treescale.errors import DatabaseTrouble, DatabaseUnavailable

LOG_SECONDS: Final = 60.0
"""A log so much older than its file was left by another one; a checkpoint takes far less."""
DOUBT_SECONDS: Final = 0.5
"""From here on it may be: then everything in the file is checked."""
_NOTE_BYTES_MAX: Final = 4096
HAS_NUMBERS: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'counters'"
NUMBER_COMMIT: Final = (
    "INSERT INTO counters (name, value) VALUES ('commits', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1"
)
"""Part of every commit that changes anything; so each has the number after that of the last."""
_NUMBER: Final = "SELECT value FROM counters WHERE name = 'commits'"
_LOG_HEAD_BYTES: Final = 32
_FRAME_HEAD_BYTES: Final = 24
"""https://www.sqlite.org/fileformat2.html#the_write_ahead_log"""


def check_file(path: Path) -> str:
    """Return how the file was checked, "" when that was not needed; raises DatabaseUnavailable.

    Blocks. An absent or empty file is fine: there is nothing in it. The note of a clean end is
    taken away.
    """
    try:
        found = path.stat()
    except OSError:
        return ""
    if not found.st_size:
        return ""
    clean = _note(path)
    note = path.with_name(f"{path.name}-clean")
    if clean == _as_noted(found) and not _log_bytes(path):
        note.unlink()
        return ""
    newer = _newer_than_log(path, found)
    if newer > LOG_SECONDS or _has_gap(path):
        raise DatabaseUnavailable(_foreign(path), DatabaseTrouble.DAMAGED)
    check = "integrity_check" if newer > DOUBT_SECONDS else "quick_check"
    wrong = _checked(path, check)
    if wrong:
        raise DatabaseUnavailable(
            _damaged(path, wrong, log=_log_bytes(path) > 0), DatabaseTrouble.DAMAGED
        )
    note.unlink(missing_ok=True)
    return check


def note_clean_end(path: Path) -> None:
    """Note what the file is now, if its log is in it; to be called when nobody has it open."""
    try:
        found = path.stat()
    except OSError:
        return
    if _log_bytes(path):
        return
    note = path.with_name(f"{path.name}-clean")
    draft = path.with_name(f"{path.name}-clean.new")
    draft.write_text(json.dumps(_as_noted(found)))
    draft.rename(note)


def _note(path: Path) -> object:
    try:
        text = path.with_name(f"{path.name}-clean").read_bytes()[:_NOTE_BYTES_MAX]
        return json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _as_noted(found: os.stat_result) -> object:
    return {
        "place": [found.st_dev, found.st_ino],
        "size": found.st_size,
        "changed": found.st_ctime_ns,
    }


def _log_bytes(path: Path) -> int:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        return 0


def _newer_than_log(path: Path, found: os.stat_result) -> float:
    """Return how much later the file was changed than its log, in seconds; 0 without a log."""
    if not _log_bytes(path):
        return 0.0
    log = path.with_name(f"{path.name}-wal").stat()
    return (found.st_ctime_ns - log.st_ctime_ns) / 1e9


def _has_gap(path: Path) -> bool:
    """Say whether commits are missing between the file and its log. False when nobody can tell.

    A copy of the file is read with the first commit of the log alone (no link: that would date it).
    """
    begin = _first_commit(path)
    there = _number(path, "mode=ro&immutable=1")  # without the log
    if not begin or there is None:
        return False
    with suppress(OSError), tempfile.TemporaryDirectory(prefix="log-", dir=path.parent) as room:
        copy = Path(room) / path.name
        shutil.copyfile(path, copy)
        copy.with_name(f"{path.name}-wal").write_bytes(begin)
        first = _number(copy, "mode=ro")
        return first is not None and there < first - 1
    return False


def _first_commit(path: Path) -> bytes:
    """Return the log up to the end of its first commit; nothing when there is none."""
    with suppress(OSError), path.with_name(f"{path.name}-wal").open("rb") as log:
        begin = log.read(_LOG_HEAD_BYTES)
        page_bytes = int.from_bytes(begin[8:12], "big")
        while frame := log.read(_FRAME_HEAD_BYTES + page_bytes):
            if len(frame) < _FRAME_HEAD_BYTES + page_bytes:
                return b""
            begin += frame
            if any(frame[4:8]):  # the size of the database after a commit
                return begin
    return b""


def _number(path: Path, how: str) -> int | None:
    """Return the number of the last commit; None of a file without numbers, or a damaged one."""
    uri = f"{path.absolute().as_uri()}?{how}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as connection:
            row = connection.execute(_NUMBER).fetchone()
    except sqlite3.DatabaseError:
        return None
    return None if row is None else int(row[0])


def _checked(path: Path, check: str) -> str:
    """Return what SQLite finds wrong, "" when nothing; the log counts, and is left as it is."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as connection:
            (found,) = connection.execute(f"PRAGMA {check}(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        return ""  # locked, or not to be opened so: whoever opens it next says what is wrong
    return "" if found == "ok" else " ".join(str(found).split())


def _foreign(path: Path) -> str:
    log = f"{path}-wal"
    return (
        f"{path} does not go with its log {log}: a backup was put in its place, and the log of "
        "another file would be mixed into it. After a restore remove the log: "
        f"{_rm(path)}. If nothing was restored: touch {shlex.quote(log)}"
    )


def _damaged(path: Path, wrong: str, *, log: bool) -> str:
    advice = f" If you have just restored it: restore it again, after {_rm(path)}." if log else ""
    return (
        f"the database {path} is damaged ({wrong[:200]}): restore it from a backup "
        f"(docs/operations.md).{advice} Keep the damaged file until then"
    )


def _rm(path: Path) -> str:
    """Return the command that removes what SQLite keeps beside its file."""
    return shlex.join(["rm", "-f", f"{path}-wal", f"{path}-shm"])
