"""A data directory is one server's at a time."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from treescale.chunks.disk.lock import DirectoryLock
from treescale.errors import StoreUnusable


async def test_a_directory_in_use_is_refused_until_it_is_free(tmp_path: Path) -> None:
    with DirectoryLock() as first, DirectoryLock(wait_seconds=0.1) as second:
        await first.take([str(tmp_path)])
        await first.take([str(tmp_path)])
        with pytest.raises(StoreUnusable, match="stop that one"):
            await second.take([str(tmp_path)])
    with DirectoryLock() as third:
        await third.take([str(tmp_path)])


async def test_whoever_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    with DirectoryLock() as first, DirectoryLock() as second:
        await first.take([str(tmp_path)])
        asyncio.get_running_loop().call_later(0.1, first.__exit__, None, None, None)
        await second.take([str(tmp_path)])


async def test_a_directory_that_is_not_there_yet_is_taken_when_it_is(tmp_path: Path) -> None:
    root = tmp_path / "new"
    with DirectoryLock() as first, DirectoryLock(wait_seconds=0.1) as second:
        await first.take([str(root)])
        root.mkdir()
        await first.take([str(root)])
        with pytest.raises(StoreUnusable):
            await second.take([str(root)])


async def test_one_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with DirectoryLock() as only, pytest.raises(StoreUnusable, match="Permission denied"):
        await only.take([str(tmp_path)])


async def test_a_place_is_the_same_again_and_that_of_a_copy_is_another(tmp_path: Path) -> None:
    mine, copy = tmp_path / "mine", tmp_path / "copy"
    mine.mkdir()
    shutil.copytree(mine, copy)
    with DirectoryLock() as first:
        assert first.place(str(mine)) == "", "it may be another's"
        await first.take([str(mine), str(copy)])
        place, other = first.place(str(mine)), first.place(str(copy))
    assert (len(place.split()), place.split()[0]) == (3, other.split()[0])
    assert place != other
    with DirectoryLock() as second:
        await second.take([str(mine)])
        assert second.place(str(mine)) == place


async def test_forks_hold_a_place_with_the_process_that_took_it(tmp_path: Path) -> None:
    with DirectoryLock() as first:
        await first.take([str(tmp_path)])
        worker = os.fork()
        if worker == 0:
            signal.pause()
    with DirectoryLock(wait_seconds=0.1) as second:
        with pytest.raises(StoreUnusable):
            await second.take([str(tmp_path)])
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, worker, 0)
        await second.take([str(tmp_path)])
