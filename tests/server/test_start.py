"""What a server makes sure of before its first worker starts."""

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import SystemClock
from treescale.config import Settings, load
from treescale.errors import SettingInvalid, StoreUnusable
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


async def test_an_empty_mount_point_is_not_taken_for_a_new_disk(
    prepare: Preparing, tmp_path: Path
) -> None:
    first, second, away = (tmp_path / name for name in ("first", "second", "away"))
    both = load({"data": [str(first), str(second)]}, {}).settings
    await prepare(both)
    second.rename(away)
    second.mkdir()
    strict = load({"data": [str(first), str(second)], "require_all_stores": True}, {}).settings
    for _ in range(2):
        await prepare(both)
        with pytest.raises(StoreUnusable, match="mounted"):
            await prepare(strict)
        assert list(second.iterdir()) == []
    moved = load({"data": [str(first), str(away)]}, {}).settings
    await prepare(moved)
    replaced = load({"data": [str(first), str(tmp_path / "new")]}, {}).settings
    await prepare(replaced)


async def test_disks_may_change_places(prepare: Preparing, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("first", "second", "third")]
    settings = load(
        {"data": [str(place) for place in places], "database": f"sqlite:///{tmp_path / 'a.db'}"}, {}
    ).settings
    await prepare(settings)
    places[1].rename(tmp_path / "aside")
    places[2].rename(places[1])
    (tmp_path / "aside").rename(places[2])
    await prepare(settings)


@pytest.mark.parametrize(
    ("advertise", "address"),
    [("", "127.0.0.1"), ("https://s1.example", "s1.example"), ("http://s1:5000", "s1:5000")],
)
async def test_people_are_told_the_address_that_is_advertised(
    tmp_path: Path, advertise: str, address: str
) -> None:
    said: list[str] = []
    chosen = load({"data": [str(tmp_path / "disk")], "advertise": advertise}, {}).settings
    with closing(bound()) as listener:
        joined = await prepared(chosen, listener, said.append)
        announce(chosen, listener, joined, None, said.append)
    assert said[-1].startswith(f"  docker login {address}")


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


@pytest.mark.parametrize(
    ("listen", "proxies", "warned"),
    [
        ("127.0.0.1:5000", "", False),
        ("localhost:5000", "", False),
        ("0.0.0.0:5000", "", True),
        ("registry.example:5000", "", True),
        ("0.0.0.0:5000", "10.0.0.0/8", False),
    ],
)
async def test_plain_http_for_other_machines_is_warned_of(
    tmp_path: Path, listen: str, proxies: str, *, warned: bool
) -> None:
    said: list[str] = []
    chosen = settings(tmp_path, TREESCALE_LISTEN=listen, TREESCALE_TRUSTED_PROXIES=proxies)
    with closing(bound()) as listener:
        joined = await prepared(chosen, listener, pytest.fail)
        announce(chosen, listener, joined, None, said.append)
    assert any("--tls-self-signed" in line for line in said) is warned


async def test_a_database_that_is_not_used_any_more_is_told_of(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = load({"data": before.data, "database": "postgresql://db/treescale"}, {}).settings
    said: list[str] = []
    with closing(bound()) as listener:
        joined = await prepared(before, listener, pytest.fail)
        announce(before, listener, joined, None, said.append)
        assert not any("not used any more" in line for line in said)
        announce(after, listener, joined, None, said.append)
    assert any("not used any more" in line for line in said)
