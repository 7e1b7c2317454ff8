"""What is found of data directories, with each fault injected."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tables import each_row
from treescale.chunks.disk.label import create_label
from treescale.chunks.disk.syscalls import Disk
from treescale.cli.doctor.disks import (
    DiskFacts,
    directory,
    inodes,
    kind_of,
    medium,
    read,
    room,
    share,
    standing,
    sync_speed,
    unmounted,
)
from treescale.cli.doctor.finding import Finding, State
from treescale.cluster.identity import Identity, write_identity

GB = 1_000_000_000
WELL = DiskFacts(
    "/srv/a",
    there=True,
    kind="ext4",
    syncs=(0.001,) * 40,
    bytes_total=1000 * GB,
    bytes_free=500 * GB,
    inodes_total=1_000_000,
    inodes_free=900_000,
)
MOUNTS = """22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 22 8:2 / /srv rw shared:2 - xfs /dev/sdb1 rw
31 30 0:40 / /srv/nfs\\040share rw - nfs4 server:/x rw
32 22 0:41 / /srvother rw - tmpfs tmpfs rw
33 30 8:3 / /srv rw shared:3 - btrfs /dev/sdc1 rw
"""


@each_row(
    ("check", "change", "state", "told"),
    [
        (standing, {}, State.OK, "writable"),
        (standing, {"there": False}, State.WARNING, "it is not there"),
        (standing, {"trouble": "not empty"}, State.FAILURE, "not empty"),
        (standing, {"unwritable": "Read-only file system"}, State.FAILURE, "Read-only"),
        (medium, {}, State.OK, "ext4"),
        (medium, {"kind": "nfs4"}, State.WARNING, "nfs4"),
        (medium, {"kind": "tmpfs"}, State.FAILURE, "memory"),
        (sync_speed, {}, State.OK, "p50 1.00 ms, p99 1.00 ms of 40 syncs"),
        (sync_speed, {"syncs": (0.03,) * 40}, State.WARNING, "p50 30.00 ms"),
        (sync_speed, {"syncs": (*[0.001] * 39, 0.5)}, State.WARNING, "p99 500.00 ms"),
        (room, {}, State.OK, "500.0 GB of 1000.0 GB"),
        (room, {"bytes_free": 99 * GB}, State.WARNING, "99.0 GB"),
        (room, {"bytes_free": 19 * GB}, State.FAILURE, "20.0 GB stay free"),
        (room, {"bytes_total": GB, "bytes_free": GB // 5}, State.FAILURE, "0.3 GB stay free"),
        (inodes, {}, State.OK, "900,000"),
        (inodes, {"inodes_free": 99_999}, State.WARNING, "99,999"),
        (inodes, {"inodes_free": 999}, State.FAILURE, "999"),
    ],
)
def test_what_is_found(
    check: Callable[[DiskFacts], Finding | None],
    change: dict[str, object],
    state: State,
    told: str,
) -> None:
    found = check(replace(WELL, **change))  # type: ignore[arg-type]
    assert found is not None
    assert (found.state, told in found.found) == (state, True), found
    assert "/srv/a" in found.name
    assert bool(found.advice) == (state is not State.OK)


def test_what_cannot_be_known_is_not_told() -> None:
    nothing = DiskFacts("/srv/a", there=False)
    assert [check(nothing) for check in (medium, sync_speed, room, inodes)] == [None] * 4
    assert inodes(replace(WELL, inodes_total=0)) is None, "btrfs counts none"


def test_a_real_directory_is_left_as_it_was(tmp_path: Path) -> None:
    create_label(tmp_path, Disk())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = [*directory(str(tmp_path))]
    assert found[0].state is State.OK
    assert len(read(tmp_path).syncs) == 40
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_without_nameless_files_one_is_unlinked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refusing(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return opened(path, flags, *rest)

    monkeypatch.setattr("treescale.cli.doctor.disks.os.open", refusing)
    assert len(read(tmp_path).syncs) == 40
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_directory_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters").touch()
    assert read(tmp_path / "file").trouble == "it is no directory"
    assert "letters" in read(tmp_path / "full").trouble or read(tmp_path / "full").trouble
    absent = read(tmp_path / "absent" / "deeper")
    assert (absent.there, absent.trouble) == (False, "")
    assert absent.bytes_total, "that of where it will be made"
    assert [*tmp_path.glob("absent*")] == []


@each_row(
    ("path", "kind"),
    [
        ("/srv/a", "btrfs"),
        ("/srv", "btrfs"),
        ("/srv/nfs share/x", "nfs4"),
        ("/srvother/x", "tmpfs"),
        ("/srvothers", "ext4"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_is_the_nearest_and_the_last(path: str, kind: str) -> None:
    assert kind_of(path, MOUNTS) == kind


def test_shares_of_times() -> None:
    times = [float(number) for number in range(100)]
    assert (share(times, 0.5), share(times, 0.99), share([3.0], 0.99)) == (50.0, 99.0, 3.0)


def test_a_disk_that_is_not_mounted_is_remembered_by_the_others(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    create_label(one, Disk())
    two.mkdir()
    write_identity(one, Disk(), Identity("0" * 32, {"a" * 32: str(two), "b" * 32: str(one)}))
    (found,) = unmounted([str(one), str(two)])
    assert (found.name, found.state) == (f"store {two}", State.FAILURE)
    assert "aaaaaaaaaaaa" in found.found
    create_label(two, Disk())
    assert [*unmounted([str(one), str(two)])] == []
