"""SQLite's file at a start: checked after any end that was not clean, refused when it is bad."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from treescale.errors import DatabaseUnavailable
from treescale.metadata.engine import sqlite_start
from treescale.metadata.engine.sqlite_start import NUMBER_COMMIT, check_file, note_clean_end


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def killed(path: Path, tmp_path: Path) -> Iterator[Path]:
    """A file with its log, as a server that was killed leaves them."""
    left = tmp_path / "left.db"
    with closing(sqlite3.connect(path)) as running:
        running.execute("PRAGMA wal_autocheckpoint = 0")
        filled(running, "before")
        running.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        filled(running, "after")
        for side in ("", "-wal"):
            shutil.copy(f"{path}{side}", f"{left}{side}")
        yield left


def filled(connection: sqlite3.Connection, what: str) -> None:
    with connection:
        connection.executemany(
            "INSERT INTO settings VALUES (?, ?)", [(f"{what}{n}", what * 50) for n in range(2000)]
        )


def test_what_is_not_there_needs_no_check(tmp_path: Path) -> None:
    assert check_file(tmp_path / "absent.db") == ""
    (tmp_path / "empty.db").touch()
    assert check_file(tmp_path / "empty.db") == ""
    note_clean_end(tmp_path / "absent.db")
    assert not list(tmp_path.glob("*-clean*"))


def test_after_a_clean_end_nothing_is_checked_and_only_once(path: Path) -> None:
    note_clean_end(path)
    assert check_file(path) == ""
    assert check_file(path) == "quick_check", "it has not ended cleanly since"


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_file_that_somebody_changed_is_checked(path: Path, how: str) -> None:
    note_clean_end(path)
    if how == "written":
        with closing(sqlite3.connect(path)) as other:
            filled(other, "by hand")
    else:
        shutil.copy(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").rename(path)
    assert check_file(path) == "quick_check"


def test_a_damaged_note_is_none(path: Path) -> None:
    path.with_name(f"{path.name}-clean").write_text("{")
    assert check_file(path) == "quick_check"


def test_a_log_that_was_left_is_not_called_a_clean_end(killed: Path) -> None:
    note_clean_end(killed)
    assert not list(killed.parent.glob("*-clean*"))
    before = killed.read_bytes()
    assert check_file(killed) in ("quick_check", "integrity_check")
    assert killed.read_bytes() == before, "looking wrote nothing"
    with closing(sqlite3.connect(killed)) as again:
        assert again.execute("SELECT count(*) FROM settings").fetchone() == (4000,)


def test_damage_is_told_with_advice(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        filled(connection, "x")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match=r"damaged.*restore it from a backup"):
            check_file(path)


def test_what_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "treescale.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        check_file(path)


def test_a_log_of_a_later_time_is_not_mixed_into_a_backup(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the docs of 0.1.0 led to: the backup is put back, and the log stays."""
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(path)) as running:
        with closing(sqlite3.connect(backup)) as copy:
            running.backup(copy)
        running.execute("PRAGMA wal_autocheckpoint = 0")
        for what in ("one", "two"):
            filled(running, what)
            running.execute("PRAGMA wal_checkpoint(RESTART)")
        filled(running, "three")
        left = tmp_path / "left.db"
        shutil.copy(f"{path}-wal", f"{left}-wal")
    shutil.copy(backup, left)
    monkeypatch.setattr(sqlite_start, "DOUBT_SECONDS", -60.0)
    with pytest.raises(DatabaseUnavailable, match=r"restore it again, after rm -f .*-wal .*-shm\."):
        check_file(left)
    monkeypatch.setattr(sqlite_start, "LOG_SECONDS", -60.0)
    with pytest.raises(DatabaseUnavailable, match=r"rm -f .*-wal .*-shm\."):
        check_file(left)
    monkeypatch.undo()
    left.with_name("left.db-wal").unlink()
    assert check_file(left) == "quick_check"


def commit(connection: sqlite3.Connection, what: str) -> None:
    with connection:
        connection.execute("INSERT INTO settings VALUES (?, '')", (what,))
        connection.execute(NUMBER_COMMIT)


@pytest.fixture
def numbered(path: Path) -> Iterator[sqlite3.Connection]:
    """A database in use, some commits in its file and some in its log."""
    with closing(sqlite3.connect(path)) as running:
        running.execute("PRAGMA wal_autocheckpoint = 0")
        commit(running, "in the file")
        running.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        commit(running, "first in the log")
        commit(running, "second in the log")
        yield running


def copied(path: Path, left: Path) -> Path:
    for side in ("", "-wal"):
        shutil.copy(f"{path}{side}", f"{left}{side}")
    return left


def test_a_log_that_goes_on_where_its_file_ends_is_kept(
    path: Path, tmp_path: Path, numbered: sqlite3.Connection
) -> None:
    assert check_file(copied(path, tmp_path / "left.db"))
    numbered.execute("PRAGMA wal_checkpoint(PASSIVE)")  # the file has what the log has
    assert check_file(copied(path, tmp_path / "again.db"))


@pytest.mark.parametrize("between", ["one", "many"])
def test_a_log_is_not_mixed_into_a_file_that_lacks_a_commit_before_it(
    path: Path, tmp_path: Path, numbered: sqlite3.Connection, between: str
) -> None:
    """At once, whatever the times of the files say."""
    backup, left = tmp_path / "backup.db", tmp_path / "left.db"
    with closing(sqlite3.connect(backup)) as copy:
        numbered.backup(copy)
    for number in range(1 if between == "one" else 100):
        commit(numbered, f"after the backup {number}")
    numbered.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    commit(numbered, "in the next log")
    shutil.copy(backup, left)
    shutil.copy(f"{path}-wal", f"{left}-wal")
    before = left.read_bytes()
    with pytest.raises(DatabaseUnavailable, match=r"rm -f .*-wal .*-shm\."):
        check_file(left)
    assert left.read_bytes() == before
    left.with_name("left.db-wal").unlink()
    assert check_file(left) == "quick_check"


def test_without_numbers_nobody_can_tell(path: Path, killed: Path) -> None:
    """As of a database that no server of this version has written to yet."""
    del path
    assert check_file(killed)
