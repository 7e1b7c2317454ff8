"""A real server whose system calls fail: strace makes them (T28, T31, T32).

After a failed sync or rename of a chunk the store is suspect: the worker writes to it no more,
until someone has looked at the disk and restarted. What was acknowledged is pulled all the while.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.conftest import Start
from tests.crash.inside import check_database, check_files, drafts
from tests.crash.load import push_image
from tests.crash.places import MIB, Mounts, copy_image
from tests.crash.rig import REPOSITORY, Rig, patch
from tests.functional.programs import Program, wait_until
from tests.images import noise, sha256_of

ATTEMPTS = 6
"""Enough for both workers to be asked."""


@contextmanager
def failing(rig: Rig, call: str, error: str, when: str) -> Iterator[None]:
    """Have a system call of the workers fail, counted in each thread."""
    inject = f"inject={call}:error={error}:when={when}"
    workers = [word for pid in rig.pids for word in ("-p", str(pid))]
    log = rig.server.home / "strace.log"
    tracer = Program("strace", "-f", "-qq", "-e", f"trace={call}", "-e", inject, *workers, log=log)
    tracer.start_until("strace is attached", lambda: all(map(traced, rig.pids)), seconds=20)
    try:
        yield
    finally:
        tracer.stop()
        wait_until("it is gone", lambda: not any(map(traced, rig.pids)))


def traced(pid: int) -> bool:
    """Return whether each thread of a process has a tracer."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


@pytest.mark.parametrize(
    ("call", "when"),
    [("fsync", "1"), ("rename", "1"), ("fsync", "2")],
    ids=["file-sync", "rename", "directory-sync"],
)
def test_a_chunk_that_cannot_be_published_ends_writing_until_a_restart(
    start: Start, data: Path, tmp_path: Path, call: str, when: str
) -> None:
    rig = start(data, tmp_path)
    with failing(rig, call, "EIO", when):
        refused = [patch(rig, noise(MIB + number)) for number in range(ATTEMPTS)]
    failed = [answer for answer in refused if answer.status == 503]
    assert failed
    for answer in failed:
        rig.check_refusal(answer, 503, "check the disk, then restart")
    rig.check_pulls()
    assert drafts(rig.home) == []
    assert rig.server.stop() == 0
    check_files(rig.home)
    rig.server.start()
    rig.push()
    rig.check_pulls()
    for number in range(ATTEMPTS):  # the same chunks again: nothing stands in their way
        blob = noise(MIB + number)
        assert rig.wire.pull_blob(REPOSITORY, rig.wire.push_blob(REPOSITORY, blob)) == blob
    check_files(rig.home)


def test_no_room_where_a_chunk_is_to_be_written(start: Start, data: Path, tmp_path: Path) -> None:
    rig = start(data, tmp_path)
    with failing(rig, "fallocate", "ENOSPC", "1+"):
        for number in range(ATTEMPTS):
            rig.check_refusal(patch(rig, noise(MIB + number)), 507, "is full; add a disk")
        assert drafts(rig.home) == []
        rig.check_pulls()
    rig.check_end()


@pytest.mark.parametrize(
    ("call", "error", "status", "says"),
    [
        ("pwrite64", "ENOSPC", 507, "the database's disk is full: make room on it"),
        ("fdatasync", "EIO", 503, "the database's disk fails: look at the system's log"),
    ],
    ids=["write", "sync"],
)
def test_a_database_that_cannot_be_written(
    start: Start, data: Path, tmp_path: Path, call: str, error: str, status: int, says: str
) -> None:
    """Each write of a commit in turn: the k-th of each thread fails, and only that."""
    rig = start(data, tmp_path)
    failures = 0
    for number in range(1, 6):
        blob = f"attempt {number}".encode()
        path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={sha256_of(blob)}"
        with failing(rig, call, error, str(number)):
            answers = [rig.wire.request("POST", path, blob) for _ in range(ATTEMPTS)]
            rig.check_pulls()
        for answer in answers:
            if answer.status != 201:
                failures += 1
                rig.check_refusal(answer, status, says)
        rig.wire.request("POST", path, blob).expect(201)
        assert rig.wire.pull_blob(REPOSITORY, sha256_of(blob)) == blob
    assert failures >= 3, "it is these calls that fail"
    rig.check_end()


def test_a_file_system_that_gives_up_writing(start: Start, data: Path, mounts: Mounts) -> None:
    """What ext4 does after an error, with the database on the same disk: `errors=remount-ro`."""
    rig = start(data, data)
    image = data.parents[1] / "memory" / "disk.img"
    mounts.remount(data, "abort")
    for _ in range(ATTEMPTS):
        answer = rig.wire.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
        rig.check_refusal(answer, 503, "the database")
    rig.check_pulls()
    rig.server.crash()
    mounts.unmount(data)
    # A copy: who still has the other in use somewhere would keep this mount read-only.
    mounts.ext4(copy_image(image, image.with_name("mended.img")), str(data), "commit=5")
    rig.server.start()
    rig.pushes.append(push_image(rig.wire, REPOSITORY, 100))
    rig.check_pulls()
    assert rig.server.stop() == 0
    check_files(rig.home)
    check_database(rig.home)
