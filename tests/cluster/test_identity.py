"""A server knows itself again, by any of its directories, and never half."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.fakes_disk import FailingDisk
from treescale.chunks.disk.syscalls import Disk
from treescale.cluster.identity import Identity, new_server_id, read_identity, write_identity
from treescale.errors import StoreUnusable

MINE = Identity("a" * 32, {"s1": "/d1", "s2": "/d2"})
OTHER = Identity("b" * 32)


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    assert read_identity(tmp_path, Disk()) is None
    write_identity(tmp_path, Disk(), MINE)
    assert read_identity(tmp_path, Disk()) == MINE
    assert json.loads((tmp_path / "server.json").read_bytes()) == {
        "format": 1,
        "server": "a" * 32,
        "stores": {"s1": "/d1", "s2": "/d2"},
    }
    assert len(new_server_id()) == 32
    assert new_server_id() != new_server_id()


def test_what_the_first_version_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"format": 1, "server": "x"}')
    assert read_identity(tmp_path, Disk()) == Identity("x")


def test_whatever_fails_it_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    disk = FailingDisk()
    for number in range(30):
        place = tmp_path / str(number)
        place.mkdir()
        write_identity(place, Disk(), OTHER)
        disk.fail(number, errno.EIO)
        try:
            write_identity(place, disk, MINE)
        except StoreUnusable:
            disk.heal()
            assert read_identity(place, disk) in (MINE, OTHER)
        else:
            assert disk.failed == []
            assert read_identity(place, Disk()) == MINE
            assert number > 5, "each call failed once"
            return
    pytest.fail("it never came to an end")


def test_it_is_synced_before_it_counts_and_left_alone_when_it_is_there(tmp_path: Path) -> None:
    disk = FailingDisk(only=["fsync", "fsync_directory"])
    write_identity(tmp_path, disk, MINE)
    assert disk.calls == 2
    write_identity(tmp_path, disk, MINE)
    assert disk.calls == 2


def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    disk = FailingDisk()
    disk.fail(0, errno.EIO)
    with pytest.raises(StoreUnusable, match=r"server\.json cannot be used: Input/output"):
        read_identity(tmp_path, disk)


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "server.json")
    with pytest.raises(StoreUnusable, match="remove it"):
        read_identity(tmp_path, Disk())


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
def test_what_cannot_be_read_is_no_identity(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(StoreUnusable, match=why):
        read_identity(tmp_path, Disk())


@pytest.mark.parametrize("stores", ["[]", "7", '{"a": 7}'])
def test_stores_that_are_none_are_none(tmp_path: Path, stores: str) -> None:
    (tmp_path / "server.json").write_text(f'{{"format": 1, "server": "x", "stores": {stores}}}')
    assert read_identity(tmp_path, Disk()) == Identity("x")
