"""A backup as a whole: from a database into bytes, and from bytes into another database."""

import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fixtures.v010 import unpacked
from tests.metadata.portable.every_row import ROWS, Dump, dump, filled
from tests.postgres import empty_postgres_url, postgres, postgres_url
from tests.templates import empty_database, migrate_by_template
from treescale.chunks.disk.lock import DirectoryLock
from treescale.errors import BackupInvalid, SettingInvalid, StoreUnusable
from treescale.maintenance.backup import backup as backups
from treescale.maintenance.backup import stream
from treescale.maintenance.backup.backup import Contents, back_up, read_back
from treescale.maintenance.backup.restore import Source, restore
from treescale.maintenance.backup.stream import Writer
from treescale.metadata.migrations import HEAD, make_tables
from treescale.metadata.portable.tables import WITH_IDENTITY

__all__ = ["empty_postgres_url", "postgres", "postgres_url"]


@pytest.fixture(autouse=True)
def quick_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_by_template(monkeypatch)


@pytest.fixture
async def full(tmp_path: Path) -> str:
    """A database with rows in every table."""
    url = empty_database(tmp_path / "full.db")
    await filled(url)
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


def names(path: Path) -> set[str]:
    return {each.name for each in path.iterdir()}


async def backed_up(url: str, passphrase: bytes | None = None) -> tuple[bytes, Contents]:
    """Return a backup, and what is said of it."""
    file = io.BytesIO()
    writer = Writer(file.write, passphrase, random=os.urandom, log_n=4)
    made = await back_up(url, writer, lambda _rows, _bytes: None)
    return file.getvalue(), made


async def restored(
    data: bytes, url: str, passphrase: bytes | None = None, *, keep_identity: bool = True
) -> Contents:
    source = Source(io.BytesIO(data).read, passphrase)
    with DirectoryLock() as lock:
        return await restore(
            url,
            source,
            lambda _rows, _bytes: None,
            lock,
            keep_identity=keep_identity,
            is_last=keep_identity,
        )


@pytest.mark.parametrize("passphrase", [None, b"secret"])
async def test_a_move_is_whole(full: str, target: str, passphrase: bytes | None) -> None:
    data, made = await backed_up(full, passphrase)
    assert read_back(io.BytesIO(data).read, passphrase, lambda _rows, _bytes: None) == made
    found = await restored(data, target, passphrase)
    assert await dump(target) == await dump(full)
    assert found == made
    assert min(made.rows.values()) == ROWS


async def test_equal_databases_give_equal_rows(full: str, target: str, tmp_path: Path) -> None:
    """There and back by files; what differs is said in the header alone."""
    data, _ = await backed_up(full)
    await restored(data, target)
    again, _ = await backed_up(target)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    await restored(again, back)
    assert await dump(back) == await dump(full)


async def test_a_restore_is_no_twin(full: str, target: str) -> None:
    data, made = await backed_up(full)
    found = await restored(data, target, keep_identity=False)
    before, after = await dump(full), await dump(target)
    changed = {"counters", "settings", *WITH_IDENTITY}
    assert {name: after[name] for name in WITH_IDENTITY} == {name: [] for name in WITH_IDENTITY}
    assert {name: rows for name, rows in after.items() if name not in changed} == {
        name: rows for name, rows in before.items() if name not in changed
    }
    assert ("collection", "frozen") in after["settings"]
    assert found.rows.keys() == made.rows.keys() - WITH_IDENTITY.keys()


async def test_what_is_cut_anywhere_leaves_nothing(full: str, tmp_path: Path) -> None:
    data, _ = await backed_up(full)
    for length in range(0, len(data), 97):
        with pytest.raises(BackupInvalid):
            await restored(data[:length], f"sqlite:///{tmp_path / 'target.db'}")
        assert names(tmp_path) == {"full.db"}


async def test_what_is_altered_leaves_nothing(full: str, target: str, tmp_path: Path) -> None:
    data, _ = await backed_up(full)
    for place in (40, len(data) // 2, len(data) - 3):
        altered = bytearray(data)
        altered[place] ^= 4
        with pytest.raises(BackupInvalid):
            await restored(bytes(altered), target)
    if target.startswith("sqlite"):
        assert names(tmp_path) == {"full.db"}
    await restored(data, target)
    assert await dump(target) == await dump(full)


async def test_a_backup_of_a_newer_version_is_refused(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = await backed_up(full)
    line = stream.PLAIN.replace(b"1", b"2")
    with pytest.raises(BackupInvalid, match="newer TreeScale"):
        await restored(line + data[len(line) :], f"sqlite:///{tmp_path / 'target.db'}")
    monkeypatch.setattr(backups, "__version__", "9.9.9")
    with closing(sqlite3.connect(tmp_path / "full.db")) as connection:
        connection.execute("UPDATE schema_version SET version_num = '0999'")
        connection.commit()
    monkeypatch.setattr("treescale.metadata.portable.snapshot.KNOWN", {HEAD, "0999"})
    data, _ = await backed_up(full)
    with pytest.raises(BackupInvalid, match=r"schema 0999 \(TreeScale 9.9.9\)"):
        await restored(data, f"sqlite:///{tmp_path / 'target.db'}")


async def test_a_database_of_an_older_version_is_restored_by_this_one(
    tmp_path: Path, target: str
) -> None:
    """What 0.1.0 left: its rows, with what later migrations fill in and add."""
    left = unpacked("sqlite", tmp_path / "v010")
    old = f"sqlite:///{left.data[0][0] / 'treescale.db'}"
    before = await dump(old)
    data, made = await backed_up(old)
    assert made.header.schema < HEAD
    await restored(data, target)
    after = await dump(target)
    assert after.keys() > before.keys()
    for name in ("users", "tags", "blobs", "blob_chunks", "signing_keys"):
        assert before[name]
        assert starts(after, name, len(before[name][0])) == sorted(before[name], key=repr)
    again, made = await backed_up(target)
    assert made.header.schema == HEAD
    assert again


def starts(rows: Dump, name: str, columns: int) -> list[tuple[object, ...]]:
    """Return the columns that were there before others were added behind them."""
    return sorted((row[:columns] for row in rows[name]), key=repr)


@pytest.mark.long
async def test_tables_of_another_version_are_told(tmp_path: Path, empty_postgres_url: str) -> None:
    """Nothing is in them, and they are not the backup's: no guess is made."""
    left = unpacked("sqlite", tmp_path / "v010")
    data, _ = await backed_up(f"sqlite:///{left.data[0][0] / 'treescale.db'}")

    def make(connection: Connection) -> None:
        make_tables(connection, HEAD)

    engine = create_async_engine(empty_postgres_url.replace("postgresql", "postgresql+asyncpg", 1))
    async with engine.begin() as connection:
        await connection.run_sync(make)
    await engine.dispose()
    with pytest.raises(SettingInvalid, match=f"schema {HEAD}.*drop it"):
        await restored(data, empty_postgres_url)


async def test_no_server_starts_there_meanwhile(full: str, tmp_path: Path) -> None:
    data, _ = await backed_up(full)
    with DirectoryLock() as lock:
        await lock.take([str(tmp_path)])
        with pytest.raises(StoreUnusable, match="in use by a server"):
            await restored(data, f"sqlite:///{tmp_path / 'target.db'}")
    await restored(data, f"sqlite:///{tmp_path / 'target.db'}")


@pytest.mark.long
async def test_a_text_that_an_engine_does_not_know_is_told(
    full: str, empty_postgres_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "full.db")) as connection:
        connection.execute("UPDATE access_tokens SET label = 'a' || char(0) || 'b'")
        connection.commit()
    data, _ = await backed_up(full)
    with pytest.raises(BackupInvalid, match="does not take"):
        await restored(data, empty_postgres_url)
    await restored(data, f"sqlite:///{tmp_path / 'target.db'}")
