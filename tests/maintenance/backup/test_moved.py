"""The file that a database has moved away from: set aside, if it is the one that was backed up."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.metadata.portable.every_row import dump, filled
from tests.templates import empty_database
from treescale.chunks.disk.lock import DirectoryLock
from treescale.errors import DatabaseUnavailable, SettingInvalid, StoreUnusable
from treescale.maintenance.backup.moved import leaving
from treescale.maintenance.backup.records import Header
from treescale.metadata.database import opened
from treescale.metadata.portable.last_backup import LastBackup, note_backup
from treescale.metadata.portable.snapshot import snapshot

LAST = LastBackup(taken=0.0, actor="cli:a@b", bytes=1, file="/b", encrypted=False)


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    path = tmp_path / "treescale.db"
    await filled(empty_database(path))
    return path


def names(old: Path) -> set[str]:
    """Return what lies where the old file was, or is."""
    return {path.name for path in old.parent.iterdir()}


def spoil(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


async def header_of(path: Path) -> Header:
    async with snapshot(f"sqlite:///{path}") as found:
        facts = found.facts
    return Header(
        schema=facts.schema,
        taken=facts.taken,
        engine=facts.engine,
        version="0",
        commits=facts.commits,
        file=facts.file,
        cluster=facts.cluster,
    )


async def leave(header: Header) -> Path | None:
    with DirectoryLock() as lock:
        async with leaving(header, lock) as moved:
            return moved


async def test_it_is_renamed_with_all_that_is_in_it(old: Path) -> None:
    before, header = await dump(f"sqlite:///{old}"), await header_of(old)
    with DirectoryLock() as lock:
        async with leaving(header, lock) as moved:
            assert old.name in names(old)
    assert moved == old.with_name("treescale.db.moved")
    assert names(old) == {"treescale.db.moved"}
    assert await dump(f"sqlite:///{moved}") == before


async def test_a_failed_restore_leaves_it_where_it_was(old: Path) -> None:
    async def failing() -> None:
        with DirectoryLock() as lock:
            async with leaving(await header_of(old), lock):
                raise KeyError

    with pytest.raises(KeyError):
        await failing()
    assert names(old) == {old.name}


async def test_that_there_is_a_backup_is_nothing_that_would_be_left_behind(old: Path) -> None:
    header = await header_of(old)
    async with opened(f"sqlite:///{old}") as database:
        await note_backup(database, LAST)
    with pytest.raises(SettingInvalid, match="is not what it was"):
        await leave(header)  # the control: this note is of another backup
    header = await header_of(old)
    async with opened(f"sqlite:///{old}") as database:
        await note_backup(database, replace(LAST, commits=header.commits))
    assert await leave(header) == old.with_name("treescale.db.moved")


async def test_what_was_written_between_a_backup_and_its_note_is(old: Path) -> None:
    header = await header_of(old)
    async with opened(f"sqlite:///{old}") as database:
        await database.settings.put("lease", "1d")
        await note_backup(database, replace(LAST, commits=header.commits))
    with pytest.raises(SettingInvalid, match="make another backup"):
        await leave(header)


async def test_one_that_was_written_to_since_is_not_left(old: Path) -> None:
    header = await header_of(old)
    async with opened(f"sqlite:///{old}") as database:
        await database.settings.put("lease", "1d")
    with pytest.raises(SettingInvalid, match="Stop the server, make another backup"):
        await leave(header)
    assert names(old) == {old.name}
    assert await leave(await header_of(old))


async def test_a_file_of_another_cluster_at_the_same_path_is_no_matter(old: Path) -> None:
    header = await header_of(old)
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE peer_keys SET secret = x'00'")
        connection.commit()
    assert await leave(header) is None
    assert names(old) == {old.name}


async def test_without_the_file_there_is_nothing_to_leave(old: Path) -> None:
    header = await header_of(old)
    old.rename(old.with_name("elsewhere"))  # noqa: ASYNC240  a test waits for nobody
    assert await leave(header) is None
    assert await leave(Header(schema="", taken=0, engine="postgresql", version="")) is None


async def test_no_name_is_taken_twice(old: Path) -> None:
    spoil(old.with_name("treescale.db.moved"))
    with pytest.raises(SettingInvalid, match="is there already"):
        await leave(await header_of(old))


async def test_a_server_that_runs_is_told(old: Path) -> None:
    with DirectoryLock() as lock:
        await lock.take([str(old.parent)])
        with pytest.raises(StoreUnusable, match="in use by a server"):
            await leave(await header_of(old))


async def test_a_file_that_cannot_be_read_is_told(old: Path) -> None:
    header = await header_of(old)
    spoil(old)
    with pytest.raises(DatabaseUnavailable, match="cannot be read"):
        await leave(header)


async def test_nobody_writes_to_it_while_it_is_restored(old: Path) -> None:
    """A server may have its database elsewhere than its data, and commands lock no directory."""
    header = await header_of(old)
    with DirectoryLock() as lock:
        async with leaving(header, lock):
            with (
                closing(sqlite3.connect(old, timeout=0.1)) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("DELETE FROM users")


async def test_of_a_file_that_numbers_nothing_nobody_can_tell(old: Path) -> None:
    """As of 0.1.0: what was written since the backup would be left behind."""
    header = replace(await header_of(old), commits=None)
    with pytest.raises(SettingInvalid, match="start this version on it once"):
        await leave(header)
    assert names(old) == {old.name}
