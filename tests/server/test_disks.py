"""What a server says and does of its own disks: in a bounded time, whatever hangs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes_disk import JumpingClock
from treescale.chunks.disk.silence import SILENT_SECONDS, Kind
from treescale.chunks.disk.store import SharedDisk
from treescale.config import load
from treescale.server.data import directories, local_stores
from treescale.server.data.directories import Place
from treescale.server.data.local_stores import LocalStores, open_stores


async def made(*paths: Path) -> tuple[Place, ...]:
    """Return new stores in these directories."""
    settings = load({"data": [str(path) for path in paths]}, {}).settings
    return directories.places(await directories.made(await directories.look(settings)))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[LocalStores]:
    places = await made(tmp_path / "a", tmp_path / "b")
    shared = {place.path: SharedDisk() for place in places}
    stores = await open_stores(places, JumpingClock(), shared)
    yield LocalStores("this", stores)
    for store in stores.values():
        store.close()


def fall_silent(here: LocalStores, number: int) -> str:
    """Have a disk be silent to writes; return its store's id."""
    store = list(here.stores.values())[number]
    store.state.waits(Kind.WRITE, 2e9, 2e9 + SILENT_SECONDS[Kind.WRITE])
    return store.store_id


async def test_a_silent_disk_is_in_trouble_and_others_report_as_ever(here: LocalStores) -> None:
    assert [report.trouble for report in await here.reports()] == ["", ""]
    silent = fall_silent(here, 1)
    well, sick = await here.reports()
    assert (well.trouble, sick.store_id) == ("", silent)
    assert "does not answer" in sick.trouble
    assert sick.bytes_total == well.bytes_total, "what it said last stands"


async def test_a_disk_that_lets_its_report_hang_is_not_waited_for(
    here: LocalStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_stores, "REPORT_SECONDS_MAX", 0.0)
    for report in await here.reports():
        assert "does not answer" in report.trouble


async def test_something_can_be_written_while_one_disk_can(here: LocalStores) -> None:
    assert here.unwritable() == ""
    fall_silent(here, 0)
    assert here.unwritable() == ""
    list(here.stores.values())[1].state.report("/secret/path is full")
    assert here.unwritable() == "a disk hangs, a disk is full or read-only"
    assert LocalStores("no-store", {}).unwritable() == ""


async def test_a_store_that_is_away_when_a_worker_starts_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = await made(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "store.json").unlink()
    monkeypatch.setattr(local_stores, "OPEN_SECONDS_MAX", 20.0)
    with capture_logs() as logs:
        stores = await open_stores(
            places, JumpingClock(), {place.path: SharedDisk() for place in places}
        )
    assert [line["store"] for line in logs if line["event"] == "store.away"] == [places[1].store_id]
    assert [store.is_well for store in stores.values()] == [True, False]
    assert LocalStores("this", stores).unwritable() == ""
