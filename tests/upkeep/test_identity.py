"""A server knows itself again, and never half."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.fakes_disk import FailingDisk
from treescale.chunks.syscalls import Disk
from treescale.errors import StoreUnusable
from treescale.upkeep.identity import new_server_id, place_held, server_id_in


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


def held_by_another(directory: Path) -> tuple[int, str]:
    """Have another process take the lock; return its id, and what place it says."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, place_held(directory).encode() or b"none")
        signal.pause()
    place = os.read(told, 200).decode()
    os.close(told)
    os.close(tell)
    return pid, place


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_place_is_one_process_s_until_that_ends_and_then_the_same_again(tmp_path: Path) -> None:
    server_id_in(tmp_path, Disk())
    first, place = held_by_another(tmp_path)
    second, nowhere = held_by_another(tmp_path)
    assert (len(place.split()), nowhere) == (3, "none")
    end(second)
    end(first)
    third, again = held_by_another(tmp_path)
    assert again == place
    end(third)


def test_forks_hold_the_place_with_the_process_that_took_it(tmp_path: Path) -> None:
    server_id_in(tmp_path, Disk())
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        assert place_held(tmp_path)
        worker = os.fork()
        if worker:
            os.write(tell, f"{worker}".encode())
            os._exit(0)
        signal.pause()
    worker = int(os.read(told, 20))
    os.waitpid(pid, 0)
    other, place = held_by_another(tmp_path)
    assert place == "none", "a worker of the one before still runs"
    end(other)
    os.kill(worker, signal.SIGKILL)
    os.close(told)
    os.close(tell)


def test_a_copy_is_another_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    server_id_in(tmp_path / "a", Disk())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, place = held_by_another(tmp_path / "a")
    second, other = held_by_another(tmp_path / "b")
    assert place.split()[:2] == other.split()[:2]
    assert place != other != "none"
    end(first)
    end(second)


def test_without_an_identity_there_is_no_place(tmp_path: Path) -> None:
    assert place_held(tmp_path) == ""
