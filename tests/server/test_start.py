"""What a server makes sure of before its first worker starts."""

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unreadable import UNREADABLE
from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import SystemClock
from treescale.config import Settings, load
from treescale.errors import SettingInvalid, StoreUnusable
from treescale.metadata.database import open_database
from treescale.server.network.address import Listeners
from treescale.server.run import announce
from treescale.server.start import Joined
from treescale.server.start import prepare as prepare_server


def settings(tmp_path: Path, **environment: str) -> Settings:
    return load({"data": [str(tmp_path / "disk")]}, environment).settings


def bound() -> Listeners:
    """Return a listening socket on any port."""
    return Listeners([socket.create_server(("127.0.0.1", 0))])


Preparing = Callable[[Settings], Awaitable[str | None]]


async def prepared(settings: Settings, listener: Listeners, say: Callable[[str], None]) -> Joined:
    """Do what comes before the workers, and let go of the directories."""
    with DirectoryLock() as lock:
        return await prepare_server(settings, listener, lock, None, SystemClock(), say)


@pytest.fixture
def prepare() -> Iterator[Preparing]:
    """Return what does what comes before the workers, and returns what is said of the account."""
    with closing(bound()) as listener:

        async def prepare(settings: Settings) -> str | None:
            return (await prepared(settings, listener, pytest.fail)).first_start

        yield prepare


async def test_a_server_without_stores_waits_for_one_that_has_some(
    prepare: Preparing, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'a.db'}"
    said: list[str] = []
    gateway = load({"no_store": True, "database": database}, {}).settings
    with closing(bound()) as listener:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(prepared(gateway, listener, said.append))
            while not said:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await prepare(load({"data": [str(tmp_path / "d")], "database": database}, {}).settings)
        joined = waiting.result()
    assert len(joined.layout.stores) == 1
    assert joined.servers == 2
    assert "--no-store" in said[0]


async def test_two_machines_at_one_address_are_told_apart(
    prepare: Preparing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{tmp_path / 'a.db'}"
    await prepare(load({"data": [str(tmp_path / "a")], "database": database}, {}).settings)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    with pytest.raises(SettingInvalid, match="--advertise"):
        await prepare(load({"data": [str(tmp_path / "b")], "database": database}, {}).settings)


async def test_the_first_start_says_who_the_administrator_is(
    prepare: Preparing, tmp_path: Path
) -> None:
    said = await prepare(settings(tmp_path))
    assert said is not None
    assert "admin" in said
    assert await prepare(settings(tmp_path)) is None


@pytest.mark.parametrize(("name", "text"), [(name, each[-1]) for name, each in UNREADABLE.items()])
async def test_a_setting_that_cannot_be_read_does_not_stop_a_start(
    prepare: Preparing, tmp_path: Path, name: str, text: str
) -> None:
    await prepare(settings(tmp_path))
    database = open_database(settings(tmp_path).database)
    await database.settings.put(name, text)
    before = await database.layouts.latest()
    await prepare(settings(tmp_path))
    assert await database.layouts.latest() == before
    await database.close()


async def announced(tmp_path: Path, settings: Iterable[Settings]) -> list[list[str]]:
    """Return what a server says that has started, under each of these settings."""
    found: list[list[str]] = []
    with closing(bound()) as listener:
        started = load({"data": [str(tmp_path / "disk")]}, {}).settings
        joined = await prepared(started, listener, pytest.fail)
        for each in settings:
            found.append([])
            announce(each, listener, joined, None, found[-1].append)
    return found


async def test_people_are_told_the_address_that_is_advertised(tmp_path: Path) -> None:
    addresses = {
        "": "127.0.0.1",
        "https://s1.example": "s1.example",
        "http://s1:5000": "s1:5000",
    }
    chosen = [
        load({"data": [str(tmp_path / "disk")], "advertise": advertise}, {}).settings
        for advertise in addresses
    ]
    said = await announced(tmp_path, chosen)
    for lines, address in zip(said, addresses.values(), strict=True):
        assert lines[-1].startswith(f"  docker login {address}")


async def test_whoever_ended_is_back_at_another_address_at_once_and_a_copy_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said nothing when it ended: it was killed."""
    monkeypatch.setattr("treescale.cluster.membership.LIVE_SECONDS", 3600.0)
    mine, copy = tmp_path / "disk", tmp_path / "copy"
    database = f"sqlite:///{mine / 'treescale.db'}"
    again, copied = (
        load({"data": [str(place)], "database": database}, {}).settings for place in (mine, copy)
    )
    with (
        closing(bound()) as first,
        closing(bound()) as second,
    ):
        began = await prepared(settings(tmp_path), first, pytest.fail)
        shutil.copytree(mine, copy)
        with pytest.raises(StoreUnusable, match="runs already"):
            await prepared(copied, second, pytest.fail)
        with pytest.raises(StoreUnusable, match="runs already"):
            # Without a place it proves nothing, and without the lock there is none.
            await prepare_server(again, second, Untaken(), None, SystemClock(), pytest.fail)
        back = await prepared(again, second, pytest.fail)
    assert back.server_id == began.server_id


class Untaken(DirectoryLock):
    """Takes nothing."""

    async def take(self, roots: Iterable[str]) -> None:
        pass


async def test_plain_http_for_other_machines_is_warned_of(tmp_path: Path) -> None:
    rows = [
        ("127.0.0.1:5000", "", False),
        ("localhost:5000", "", False),
        ("0.0.0.0:5000", "", True),
        ("registry.example:5000", "", True),
        ("0.0.0.0:5000", "10.0.0.0/8", False),
    ]
    chosen = [
        settings(tmp_path, TREESCALE_LISTEN=listen, TREESCALE_TRUSTED_PROXIES=proxies)
        for listen, proxies, _ in rows
    ]
    said = await announced(tmp_path, chosen)
    for lines, row in zip(said, rows, strict=True):
        assert any("--tls-self-signed" in line for line in lines) is row[2], row


async def test_a_database_that_is_not_used_any_more_is_told_of(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = load({"data": before.data, "database": "postgresql://db/treescale"}, {}).settings
    said = await announced(tmp_path, [before, after])
    assert [any("not used any more" in line for line in lines) for lines in said] == [False, True]
