"""A data directory is one server's at a time."""

import asyncio
from pathlib import Path

import pytest

from treescale.chunks.occupancy import Occupancy
from treescale.errors import StoreUnusable


async def test_a_directory_in_use_is_refused_until_it_is_free(tmp_path: Path) -> None:
    with Occupancy() as first, Occupancy(wait_seconds=0.1) as second:
        await first.take([str(tmp_path)])
        await first.take([str(tmp_path)])
        with pytest.raises(StoreUnusable, match="stop that one"):
            await second.take([str(tmp_path)])
    with Occupancy() as third:
        await third.take([str(tmp_path)])


async def test_whoever_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    with Occupancy() as first, Occupancy() as second:
        await first.take([str(tmp_path)])
        asyncio.get_running_loop().call_later(0.1, first.__exit__, None, None, None)
        await second.take([str(tmp_path)])


async def test_a_directory_that_is_not_there_yet_is_taken_when_it_is(tmp_path: Path) -> None:
    root = tmp_path / "new"
    with Occupancy() as first, Occupancy(wait_seconds=0.1) as second:
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
    with Occupancy() as only, pytest.raises(StoreUnusable, match="Permission denied"):
        await only.take([str(tmp_path)])
