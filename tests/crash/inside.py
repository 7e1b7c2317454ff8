"""What lies on the disk and in the database, looked at without the server."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from blake3 import blake3

from tests.crash.nursery import Home


def check_files(home: Home) -> int:
    """Fail if a file with a chunk's name has other bytes; return how many chunks there are."""
    files = [path for path in (home.data / "chunks").rglob("*") if path.is_file()]
    for path in files:
        assert blake3(path.read_bytes()).hexdigest() == path.name, f"half-written: {path}"
    return len(files)


def drafts(home: Home) -> list[str]:
    """Return what lies in tmp."""
    return [path.name for path in (home.data / "tmp").iterdir()]


def check_database(home: Home) -> None:
    """Fail if SQLite finds its file damaged, or a row that refers to none."""
    with closing(_open(home.database)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def check_rows(home: Home, digests: Iterable[str]) -> None:
    """Fail unless each blob has one row."""
    with closing(_open(home.database)) as database:
        for digest in digests:
            asked = "SELECT count(*) FROM blobs WHERE digest = ?"
            assert database.execute(asked, (digest,)).fetchall() == [(1,)]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=rw", uri=True)
