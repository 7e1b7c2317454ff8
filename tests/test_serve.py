"""What a server makes sure of before its first worker starts."""

from pathlib import Path

import pytest

from treescale.clock import SystemClock
from treescale.config import Settings, load
from treescale.errors import SettingInvalid, StoreUnusable
from treescale.serve import _prepare


def settings(tmp_path: Path, **environment: str) -> Settings:
    return load({"data": [str(tmp_path / "disk")]}, environment).settings


@pytest.mark.parametrize("environment", [{"TREESCALE_COPIES": "2"}, {"TREESCALE_NO_STORE": "true"}])
async def test_fewer_stores_than_copies_are_refused(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """And not taken for a layout that keeps fewer copies than were asked for."""
    with pytest.raises(SettingInvalid, match="--data"):
        await _prepare(settings(tmp_path, **environment), "a password", SystemClock())


async def test_the_first_start_says_who_the_administrator_is(tmp_path: Path) -> None:
    said = await _prepare(settings(tmp_path), None, SystemClock())
    assert said is not None
    assert "admin" in said
    assert await _prepare(settings(tmp_path), None, SystemClock()) is None


async def test_an_empty_mount_point_is_not_taken_for_a_new_disk(tmp_path: Path) -> None:
    first, second, away = (tmp_path / name for name in ("first", "second", "away"))
    both = load({"data": [str(first), str(second)]}, {}).settings
    await _prepare(both, "a password", SystemClock())
    second.rename(away)
    second.mkdir()
    for _ in range(2):  # nor is what the first attempt left there
        with pytest.raises(StoreUnusable, match="mounted"):
            await _prepare(both, None, SystemClock())
    moved = load({"data": [str(first), str(away)]}, {}).settings
    await _prepare(moved, None, SystemClock())
    replaced = load({"data": [str(first), str(tmp_path / "new")]}, {}).settings
    await _prepare(replaced, None, SystemClock())


async def test_disks_may_change_places(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("first", "second", "third")]
    settings = load(
        {"data": [str(place) for place in places], "database": f"sqlite:///{tmp_path / 'a.db'}"}, {}
    ).settings
    await _prepare(settings, "a password", SystemClock())
    places[1].rename(tmp_path / "aside")
    places[2].rename(places[1])
    (tmp_path / "aside").rename(places[2])
    await _prepare(settings, None, SystemClock())
