"""What a server makes sure of before its first worker starts."""

from pathlib import Path

import pytest

from treescale.clock import SystemClock
from treescale.config import Settings, load
from treescale.errors import SettingInvalid
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
