"""SQLite's file is unlinked, replaced, cut short, damaged: noticed, and not written to any more."""

import asyncio
import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from treescale.errors import DatabaseTrouble, DatabaseUnavailable
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import sqlite_writer
from treescale.metadata.engine.sqlite_file import DatabaseFile


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def file(path: Path) -> DatabaseFile:
    """The file as a server pins it when it starts."""
    file = DatabaseFile(path)
    file.pin()
    return file


@pytest.fixture
async def served(url: str, file: DatabaseFile) -> AsyncIterator[Database]:
    """The database as a worker has it, with something in it."""
    database = open_database(url, file=file)
    await database.settings.put("there", "before")
    assert await database.settings.get("there") == "before"
    yield database
    await database.close()


def unlinked(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def replaced_by_nothing(path: Path) -> None:
    path.unlink()
    path.touch()


def replaced_by_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").rename(path)


def a_link_to_another(path: Path) -> None:
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    path.unlink()
    path.symlink_to(copy)


def directory_gone(path: Path) -> None:
    path.parent.rename(f"{path.parent}-gone")


def cut_short(path: Path) -> None:
    os.truncate(path, 0)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


MOVED = (
    unlinked,
    renamed,
    replaced_by_nothing,
    replaced_by_a_copy,
    a_link_to_another,
    directory_gone,
)


@pytest.mark.parametrize("how", [*MOVED, cut_short], ids=lambda how: how.__name__)
async def test_nothing_is_written_any_more(
    served: Database, path: Path, how: Callable[[Path], None]
) -> None:
    how(path)
    before = bytes_of(path)
    with pytest.raises(DatabaseUnavailable) as raised:
        await served.settings.put("there", "after")
    expected = DatabaseTrouble.DAMAGED if how is cut_short else DatabaseTrouble.MOVED
    assert raised.value.trouble is expected
    assert bytes_of(path) == before, "no file was made or changed"
    assert served._connections.answers_version() is None, (
        "what is in memory is not certain any more"
    )
    with pytest.raises(DatabaseUnavailable):
        await served.settings.get("there")
    condition = await served.examine()
    assert isinstance(condition.write, DatabaseUnavailable)
    assert condition.write.trouble is expected


@pytest.mark.parametrize("how", MOVED, ids=lambda how: how.__name__)
async def test_all_processes_of_a_server_know_what_one_has_seen(
    served: Database, file: DatabaseFile, path: Path, how: Callable[[Path], None]
) -> None:
    """A read does not look by itself: it would cost every pull something."""

    def in_another() -> None:
        how(path)
        with pytest.raises(DatabaseUnavailable):
            file.look()

    other = multiprocessing.get_context("fork").Process(target=in_another)
    other.start()
    await asyncio.to_thread(other.join, 20)
    assert other.exitcode == 0
    with pytest.raises(DatabaseUnavailable):
        await served.settings.get("there")


async def test_putting_the_file_back_is_enough(served: Database, path: Path) -> None:
    renamed(path)
    with pytest.raises(DatabaseUnavailable):
        await served.settings.put("there", "after")
    path.with_suffix(".away").rename(path)
    await served.settings.put("there", "after")
    assert await served.settings.get("there") == "after"


async def test_a_commit_into_a_file_that_lost_its_name_is_not_acknowledged(
    served: Database, path: Path
) -> None:
    def work(_connection: object) -> None:
        unlinked(path)

    with pytest.raises(DatabaseUnavailable, match="not where it was"):
        await served._connections.write(work)


async def test_without_the_pin_it_would_be_acknowledged(
    served: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: SQLite itself writes on into a file that nobody finds any more."""
    monkeypatch.setattr(DatabaseFile, "look", lambda _: None)
    unlinked(path)
    await served.settings.put("there", "lost")
    assert bytes_of(path) == b""


def log_unlinked(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def log_and_its_index_unlinked(path: Path) -> None:
    """As somebody does who restores a backup and forgets to stop the server."""
    log_unlinked(path)
    path.with_name(f"{path.name}-shm").unlink()


def log_replaced(path: Path) -> None:
    log_unlinked(path)
    path.with_name(f"{path.name}-wal").touch()


LOGS = (log_unlinked, log_and_its_index_unlinked, log_replaced)


@pytest.mark.parametrize("how", LOGS, ids=lambda how: how.__name__)
async def test_what_goes_to_a_log_without_a_name_is_not_acknowledged(
    served: Database, path: Path, how: Callable[[Path], None]
) -> None:
    how(path)
    with pytest.raises(DatabaseUnavailable, match="-wal") as raised:
        await served.settings.put("there", "after")
    assert raised.value.trouble is DatabaseTrouble.MOVED


async def test_nor_when_the_log_goes_while_it_is_written(served: Database, path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="-wal"):
        await served._connections.write(lambda _: log_unlinked(path))


async def test_without_a_look_at_the_log_it_would_be_lost_with_the_process(
    served: Database, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(sqlite_writer._Transactions, "_check_log", lambda _: None)
    log_and_its_index_unlinked(path)
    await served.settings.put("there", "lost")
    shutil.copy(path, tmp_path / "crashed.db")
    with closing(sqlite3.connect(tmp_path / "crashed.db")) as left:
        (found,) = left.execute(
            "SELECT count(*) FROM settings WHERE value LIKE '%lost%'"
        ).fetchone()
    assert found == 0


async def test_a_database_without_such_a_log_is_written_as_well(url: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    database = open_database(url)
    await database.settings.put("there", "kept")
    await database.settings.put("there", "kept")
    await database.close()


def damage_in(path: Path) -> None:
    """Overwrite all but the header, which SQLite reads first."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


async def test_a_damaged_file_is_read_where_it_can_be_and_not_written(
    served: Database, file: DatabaseFile, path: Path
) -> None:
    await served.close()  # the log of writes is in the file now
    damage_in(path)
    condition = await served.examine()
    assert isinstance(condition.read, DatabaseUnavailable)
    assert condition.read.trouble is DatabaseTrouble.DAMAGED
    assert file.is_damaged
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        await served.settings.put("there", "after")


async def test_a_read_that_meets_damage_ends_the_writes(
    served: Database, file: DatabaseFile, path: Path
) -> None:
    await served.close()
    damage_in(path)
    with pytest.raises(DatabaseUnavailable):
        await served.settings.get("there")
    assert file.is_damaged


async def test_what_was_mended_in_place_is_found_sound(
    served: Database, file: DatabaseFile, path: Path
) -> None:
    await served.close()
    sound = bytes_of(path)
    damage_in(path)
    with pytest.raises(DatabaseUnavailable):
        file.verify()
    assert not file.claim_verify(0.0) or not file.claim_verify(0.0), "one process at a time"
    with path.open("r+b") as opened:
        opened.write(sound)
    file.verify()
    await served.settings.put("there", "after")


async def test_the_watch_says_what_has_become_of_the_file(
    served: Database, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(served.run())
        renamed(path)
        await _said("database.away", capsys)
        path.with_suffix(".away").rename(path)
        await _said("database.back", capsys)
        watch.cancel()


async def _said(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(10):
        while event not in capsys.readouterr().out:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_full_disk_and_one_that_is_read_only_are_told(
    served: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[3] = fields[4] = 1
        return os.statvfs_result(fields)

    def read_only(path: Path) -> os.statvfs_result:
        fields = list(real(path))
        fields[8] |= os.ST_RDONLY
        return os.statvfs_result(fields)

    for space, trouble in ((full, DatabaseTrouble.FULL), (read_only, DatabaseTrouble.READ_ONLY)):
        monkeypatch.setattr(os, "statvfs", space)
        found = (await served.examine()).write
        assert isinstance(found, DatabaseUnavailable)
        assert found.trouble is trouble
    monkeypatch.undo()
    assert (await served.examine()).write is None


async def test_looking_is_done_well_and_in_a_moment(served: Database) -> None:
    found = await served.examine()
    assert (found.read, found.write, found.schema) == (None, None, None)


async def test_older_tables_are_noticed_and_newer_ones_are_fine(
    served: Database, path: Path
) -> None:
    for version, trouble in (("0003", DatabaseTrouble.SCHEMA), ("9999", None)):
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE schema_version SET version_num = ?", [version])
        schema = (await served.examine()).schema
        assert (schema.trouble if isinstance(schema, DatabaseUnavailable) else None) is trouble
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DROP TABLE owed")
    assert (await served.examine()).schema is not None
