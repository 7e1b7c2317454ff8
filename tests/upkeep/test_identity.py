"""A server knows itself again, and never half."""

import errno
import json
from pathlib import Path

import pytest

from tests.fakes_disk import FailingDisk
from treescale.chunks.syscalls import Disk
from treescale.errors import StoreUnusable
from treescale.upkeep.identity import new_server_id, server_id_in


def test_the_first_time_it_is_made_and_then_it_stays(tmp_path: Path) -> None:
    made = server_id_in(tmp_path, Disk())
    assert server_id_in(tmp_path, Disk()) == made
    assert json.loads((tmp_path / "server.json").read_bytes()) == {"format": 1, "server": made}
    assert len(made) == 32
    assert new_server_id() != new_server_id()


def test_whatever_fails_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    disk = FailingDisk()
    for number in range(20):
        place = tmp_path / str(number)
        place.mkdir()
        disk.fail(number, errno.EIO)
        try:
            made = server_id_in(place, disk, lambda: "first")
        except StoreUnusable:
            disk.heal()
            assert server_id_in(place, disk, lambda: "second") in {"first", "second"}
        else:
            assert (made, disk.failed) == ("first", [])
            assert number > 5, "each call failed once"
            return
    pytest.fail("it never came to an end")


def test_it_is_synced_before_it_counts(tmp_path: Path) -> None:
    disk = FailingDisk(only=["fsync", "fsync_directory"])
    server_id_in(tmp_path, disk)
    assert disk.calls == 2


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    disk = FailingDisk()
    disk.fail(0, errno.EIO)
    with pytest.raises(StoreUnusable, match=r"server\.json cannot be used: Input/output"):
        server_id_in(tmp_path, disk)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "remove it"),
        ("[]", "remove it"),
        ("{}", "remove it"),
        ('{"format": 1, "server": 7}', "names no server"),
        ('{"format": 1, "server": ""}', "names no server"),
        ('{"format": 2, "server": "x"}', "format 2"),
    ],
)
def test_what_cannot_be_read_is_not_replaced(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "server.json"
    path.write_text(text)
    with pytest.raises(StoreUnusable, match=why):
        server_id_in(tmp_path, Disk())
    assert path.read_text() == text
