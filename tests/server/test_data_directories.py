"""Starting with disks that are missing: what is used, what is not, and what is refused."""

import json
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR
from treescale.chunks.disk.label import look_at
from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import SystemClock
from treescale.config import load
from treescale.errors import SettingInvalid, StoreUnusable
from treescale.metadata.database import opened
from treescale.metadata.migrations import migrate
from treescale.server.data import directories
from treescale.server.network.address import Listeners
from treescale.server.run import tell_missing
from treescale.server.start import Joined, prepare

pytestmark = pytest.mark.long  # each starts a server twice or more

Starting = Callable[..., Awaitable[Joined]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starting]:
    """Return what a server does before its first worker, with these directories."""
    with closing(Listeners([socket.create_server(("127.0.0.1", 0))])) as listener:

        async def start(*names: str, elsewhere: bool = False, **flags: bool) -> Joined:
            chosen: dict[str, object] = {"data": [str(tmp_path / name) for name in names], **flags}
            if elsewhere:
                chosen["database"] = f"sqlite:///{tmp_path / 'elsewhere.db'}"
            settings = load(chosen, {}).settings
            with DirectoryLock() as lock:
                clock = SystemClock()
                joined = await prepare(settings, listener, lock, None, clock, lambda _: None)
            said: list[str] = []
            tell_missing(joined, said.append)
            for each, line in zip(joined.missing, said, strict=True):
                assert line.startswith("MISSING")
                assert each.root in line
            return joined

        yield start


def why(joined: Joined) -> str:
    (one,) = joined.missing
    return one.why


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def absent(path: Path) -> None:
    shutil.rmtree(path)


def foreign(path: Path) -> None:
    empty(path)
    (path / "holiday.jpg").write_bytes(b"not a store")


def garbled(path: Path) -> None:
    (path / "store.json").write_bytes(b"{")


def replaced(path: Path) -> None:
    (path / "store.json").write_text(json.dumps({"format": 1, "store": "another"}))


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [empty, absent, foreign, garbled, replaced, a_file])
async def test_a_server_starts_without_one_of_its_disks(
    start: Starting, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    first = await start("one", "two")
    kept = {place.path: place.store_id for place in first.places}
    spoil(tmp_path / "two")
    before = sorted((tmp_path / "two").iterdir()) if (tmp_path / "two").is_dir() else None
    again = await start("one", "two")
    assert again.server_id == first.server_id
    assert {place.path: place.store_id for place in again.places} == kept, "it is known by name"
    assert [bool(place.why) for place in again.places] == [False, True]
    assert str(tmp_path / "two") in why(again)
    after = sorted((tmp_path / "two").iterdir()) if (tmp_path / "two").is_dir() else None
    assert after == before, "nothing is written there"
    with pytest.raises(StoreUnusable, match="two"):
        await start("one", "two", require_all_stores=True)


@pytest.mark.parametrize("spoil", [empty, absent, foreign, garbled, a_file])
async def test_the_only_disk_is_not_gone_on_without(
    start: Starting, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    await start("one", elsewhere=True)
    spoil(tmp_path / "one")
    with pytest.raises(StoreUnusable, match="one"):
        await start("one", elsewhere=True)


@pytest.mark.parametrize("spoil", [empty, absent, foreign, garbled, a_file])
async def test_a_server_knows_itself_without_its_first_disk(
    start: Starting, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    first = await start("one", "two", elsewhere=True)
    spoil(tmp_path / "one")
    again = await start("one", "two", elsewhere=True)
    assert again.server_id == first.server_id
    assert [bool(place.why) for place in again.places] == [True, False]


@pytest.mark.parametrize("spoil", [empty, absent, foreign, a_file])
async def test_without_the_disk_of_its_database_it_is_refused(
    start: Starting, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    await start("one", "two")
    spoil(tmp_path / "one")
    with pytest.raises(StoreUnusable, match="database"):
        await start("one", "two")
    assert not (tmp_path / "one" / "treescale.db").exists()


async def test_a_new_disk_is_taken_in_as_ever(start: Starting) -> None:
    first = await start("one")
    second = await start("one", "two")
    assert (len(first.places), len(second.places), second.missing) == (1, 2, ())


async def test_a_lost_disk_is_replaced_by_forgetting_it(start: Starting, tmp_path: Path) -> None:
    joined = await start("one", "two")
    empty(tmp_path / "two")
    missing = (await start("one", "two")).places[1]
    assert missing.store_id == joined.places[1].store_id
    async with opened(f"sqlite:///{tmp_path / 'one' / 'treescale.db'}") as database:
        await database.stores.remove(missing.store_id, actor=ACTOR)
    fresh = await start("one", "two")
    assert fresh.missing == ()
    assert fresh.places[1].store_id != missing.store_id


async def test_every_directory_says_which_server_it_is_of_and_any_one_serves(
    start: Starting, tmp_path: Path
) -> None:
    first = await start("one", "two")
    (tmp_path / "one" / "server.json").write_bytes(b"garbled")
    assert (await start("one", "two")).server_id == first.server_id
    (tmp_path / "one" / "server.json").unlink()
    assert (await start("one", "two")).server_id == first.server_id
    for name in ("one", "two"):
        text = (tmp_path / name / "server.json").read_bytes()
        assert json.loads(text)["stores"] == {place.store_id: place.path for place in first.places}
        (tmp_path / name / "server.json").write_bytes(b"garbled")
    with pytest.raises(StoreUnusable, match="remove it"):
        await start("one", "two")


async def test_a_disk_of_another_server_does_not_say_which_one_this_is(
    start: Starting, tmp_path: Path
) -> None:
    other = await start("three")
    first = await start("one", "two", elsewhere=True)
    (tmp_path / "three").rename(tmp_path / "moved")
    (tmp_path / "one" / "server.json").unlink()
    moved = await start("moved", "one", "two", elsewhere=True)
    assert other.server_id != first.server_id == moved.server_id


async def test_a_disk_that_hangs_at_the_start_is_gone_on_without(
    start: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start("one", "two")
    answers = Event()

    def hang(*arguments: Any) -> Any:
        answers.wait()
        return look_at(*arguments)

    monkeypatch.setattr(directories, "look_at", hang)
    monkeypatch.setattr(directories, "LOOK_SECONDS_MAX", 0.01)
    try:
        with pytest.raises(StoreUnusable, match=r"one: the disk does not answer.*database"):
            await start("one", "two")
    finally:
        answers.set()


async def test_one_store_by_two_names_is_refused(start: Starting, tmp_path: Path) -> None:
    await start("one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with pytest.raises(SettingInvalid, match="same store"):
        await start("one", "copy")


async def test_a_database_that_was_never_used_by_this_server_tells_nothing(
    start: Starting, tmp_path: Path
) -> None:
    await migrate(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert (await start("one", elsewhere=True)).missing == ()
