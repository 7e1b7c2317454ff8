"""A server that would start on the wrong database, or on none, does not start."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.postgres import empty_postgres_url, postgres
from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import SystemClock
from treescale.config import Loaded, load
from treescale.errors import DatabaseUnavailable, SettingInvalid, StoreUnusable
from treescale.metadata.database import opened
from treescale.metadata.records import Blob, NewBlob, User
from treescale.server.data.right_database import Consent
from treescale.server.network.address import listen
from treescale.server.start import prepare

pytestmark = pytest.mark.long  # each starts a server twice or more

__all__ = ["empty_postgres_url", "postgres"]  # fixtures
FORGET, LEAVE = Consent(forget_chunks=True), Consent(leave_database=True)


def loaded(*data: Path, database: str = "", **environment: str) -> Loaded:
    """Return settings as typed; those named in `environment` come from variables."""
    flags: dict[str, object] = {"data": [str(one) for one in data], "listen": "127.0.0.1:0"}
    if database:
        environment["TREESCALE_DATABASE"] = database
    return load(flags, environment)


async def start(chosen: Loaded, consent: Consent | None = None) -> None:
    """Do what a server does before its first worker."""
    consent = replace(consent or Consent(), sources=chosen.sources)
    with closing(listen(chosen.settings)) as listeners, DirectoryLock() as lock:
        await prepare(chosen.settings, listeners, lock, None, SystemClock(), _ignore, consent)


def _ignore(_: str) -> None:
    pass


def put_chunk(data: Path) -> None:
    place = data / "chunks" / "ab" / "cd"
    place.mkdir(parents=True, exist_ok=True)
    (place / ("abcd" + 60 * "0")).write_bytes(b"x")


async def push(url: str) -> None:
    """Have something in the database that was pushed."""
    async with opened(url) as database:
        blob = Blob("sha256:" + 64 * "a", 1, b"x", None)
        await database.blobs.commit(
            "alice/app", NewBlob(blob, ()), upload_id=None, now=1.0, actor=ACTOR
        )


@pytest.fixture
async def full(tmp_path: Path) -> Path:
    """A data directory with chunks, and the database that knows them."""
    data = tmp_path / "full"
    chosen = loaded(data)
    await start(chosen)
    put_chunk(data)
    await push(chosen.settings.database)
    return data


def lose(data: Path) -> None:
    for one in data.glob("treescale.db*"):
        one.unlink()


def is_filled(data: Path) -> bool:
    return any(one.stat().st_size for one in data.glob("treescale.db*"))


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
async def test_full_disks_without_their_database_are_no_new_registry(full: Path, left: str) -> None:
    lose(full)
    if left == "an empty file":
        (full / "treescale.db").touch()
    for _ in range(3):  # nor is what an attempt left there
        with pytest.raises(StoreUnusable, match=r"full of chunks.*database.*--forget-chunks"):
            await start(loaded(full))
    assert not is_filled(full), "nothing was made"
    await start(loaded(full), FORGET)
    await start(loaded(full))


async def test_an_empty_database_that_somebody_made_is_not_theirs_either(
    full: Path, tmp_path: Path
) -> None:
    lose(full)
    other = tmp_path / "other"
    await start(loaded(other))
    (other / "treescale.db").rename(full / "treescale.db")
    with pytest.raises(StoreUnusable, match="forget-chunks"):
        await start(loaded(full))


async def test_an_empty_postgresql_is_the_wrong_one(full: Path, empty_postgres_url: str) -> None:
    lose(full)
    with pytest.raises(StoreUnusable, match=r"TREESCALE_DATABASE.*correct the URL"):
        await start(loaded(full, database=empty_postgres_url))
    async with opened(empty_postgres_url) as database:
        assert (await database.examine()).schema is not None, "no table was made in it"
    await start(loaded(full, database=empty_postgres_url), FORGET)
    await start(loaded(full, database=empty_postgres_url))


async def test_a_full_disk_of_elsewhere_may_join_those_in_use(full: Path, tmp_path: Path) -> None:
    """As today: its chunks lie there, and nobody refers to them."""
    mine = tmp_path / "mine"
    await start(loaded(mine))
    await push(loaded(mine).settings.database)
    lose(full)
    await start(loaded(mine, full))


async def test_new_disks_are_new(tmp_path: Path) -> None:
    await start(loaded(tmp_path / "a"))
    await start(loaded(tmp_path / "a", tmp_path / "b"))


async def test_a_directory_with_a_database_of_its_own_does_not_join_another(
    full: Path, empty_postgres_url: str
) -> None:
    chosen = loaded(full, database=empty_postgres_url)
    with pytest.raises(StoreUnusable, match="forget-chunks"):
        await start(chosen)
    await start(loaded(full.with_name("first"), database=empty_postgres_url))
    await push(empty_postgres_url)
    with pytest.raises(SettingInvalid) as refused:
        await start(chosen)
    said = str(refused.value)
    for part in ("--data", "TREESCALE_DATABASE", str(full / "treescale.db"), "--leave-database"):
        assert part in said
    assert empty_postgres_url not in said, "there may be a password in it"
    await start(chosen, LEAVE)
    await start(chosen)  # the other database knows the directory now


async def test_another_sqlite_file_is_another_database_too(full: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    await start(loaded(there))
    await push(loaded(there).settings.database)
    with pytest.raises(SettingInvalid, match="two settings disagree"):
        await start(loaded(full, database=f"sqlite:///{there / 'treescale.db'}"))


@pytest.mark.parametrize("content", ["none", "a second user"])
async def test_a_database_in_which_nothing_is_may_be_left(
    tmp_path: Path, empty_postgres_url: str, content: str
) -> None:
    data = tmp_path / "data"
    await start(loaded(data))
    if content == "none":
        await start(loaded(data, database=empty_postgres_url))
        return
    async with opened(loaded(data).settings.database) as database:
        await database.users.add(User("alice", "x", admin=False, created=1.0), actor=ACTOR)
    with pytest.raises(SettingInvalid, match="two settings"):
        await start(loaded(data, database=empty_postgres_url))


async def test_a_damaged_database_is_refused_with_advice(full: Path) -> None:
    path = full / "treescale.db"
    path.write_bytes(bytes(range(256)) * 64)
    with pytest.raises(DatabaseUnavailable, match=r"damaged.*backup"):
        await asyncio.wait_for(start(loaded(full)), 20)
