"""A real server whose disks are full, read-only or gone: refused, nothing lost, no restart.

Each test has an image that was acknowledged before the trouble, pulls it in the middle of it, and
pushes again, to the same processes, once the trouble is over (T27, T29, T30, T34, T35).
"""

import hashlib
import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.crash.conftest import Start
from tests.crash.places import MIB, Mounts, filled, make_ext4
from tests.crash.rig import REPOSITORY, RESERVE, Rig, patch
from tests.functional.wire import Answer
from tests.images import noise, sha256_of


def head_of_push(rig: Rig, length: int) -> Answer:
    """Announce a body and send none of it; return what the server says to that."""
    place = rig.wire.begin_upload(REPOSITORY)
    connection = rig.server.connect()
    try:
        connection.putrequest("PATCH", place)
        connection.putheader("Authorization", f"Bearer {rig.wire._tokens[f'/v2/{REPOSITORY}']}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def test_a_full_disk_refuses_before_the_body_is_read(
    start: Start, data: Path, tmp_path: Path
) -> None:
    rig = start(data, tmp_path)
    rig.check_refusal(head_of_push(rig, 10**12), 507, "no room for 1000000000000 more; add a disk")
    with filled(data, RESERVE // 2):
        for _ in range(4):  # so that each worker is asked
            rig.check_refusal(head_of_push(rig, 1000), 507, "add a disk or delete images")
            rig.check_refusal(patch(rig, noise(MIB)), 507, "add a disk or delete images")
        rig.check_pulls()
    rig.check_end()


def test_a_disk_that_fills_in_the_middle_of_a_push(
    start: Start, data: Path, tmp_path: Path
) -> None:
    rig = start(data, tmp_path)
    whole = hashlib.shake_256(b"never acknowledged").digest(24 * MIB)
    with pouring(data, whole) as pieces:
        path = rig.wire.begin_upload(REPOSITORY)
        # The answer may go down with the connection that is still being sent to.
        with suppress(ConnectionError):
            rig.check_refusal(rig.wire.request("PATCH", path, pieces), 507, "add a disk")
        rig.check_pulls()
        answer = rig.wire.request("GET", f"/v2/{REPOSITORY}/blobs/{sha256_of(whole)}")
        answer.expect(404)
        rig.check_refusal(patch(rig, noise(MIB)), 507, "add a disk")
    rig.wire.push_blob(REPOSITORY, whole)
    assert rig.wire.pull_blob(REPOSITORY, sha256_of(whole)) == whole
    rig.check_end()


@contextmanager
def pouring(data: Path, whole: bytes) -> Iterator[Iterator[bytes]]:
    """Return a body in pieces, in the middle of which the disk fills."""
    fill = filled(data, RESERVE // 2)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(whole), MIB):
            if at == len(whole) // 2:
                fill.__enter__()
            yield whole[at : at + MIB]

    yield pieces()
    fill.__exit__(None, None, None)


def test_one_full_disk_of_two(start: Start, data: Path, tmp_path: Path, mounts: Mounts) -> None:
    """T26: what belongs on the full one goes to the other."""
    image = make_ext4(data.parents[1] / "memory" / "other.img", 2 * RESERVE + 64 * MIB)
    mounts.ext4(image, str(data.with_name("disk1")), "commit=5")
    rig = start(data, tmp_path, disks=2)
    with filled(data, RESERVE // 2):
        blobs = [hashlib.shake_256(bytes([number])).digest(3 * MIB) for number in range(4)]
        for blob in blobs:
            rig.wire.push_blob(REPOSITORY, blob)
        rig.check_pulls()
    for blob in blobs:
        assert rig.wire.pull_blob(REPOSITORY, sha256_of(blob)) == blob
    rig.check_end()


def test_no_inodes_left(start: Start, tmp_path: Path, mounts: Mounts) -> None:
    memory = mounts.memory("memory", 1024 * MIB)
    image = make_ext4(memory / "disk.img", 3 * RESERVE, inodes=3000)
    data = mounts.ext4(image, str(tmp_path / "home" / "disk0"), "commit=5")
    rig = start(data, tmp_path)
    crowd = data / "crowd"
    crowd.mkdir()
    for number in range(2500):
        (crowd / str(number)).touch()
    for _ in range(4):
        rig.check_refusal(patch(rig, noise(MIB)), 507, "inodes left; add a disk")
    rig.check_pulls()
    shutil.rmtree(crowd)
    rig.check_end()


def test_a_disk_mounted_read_only(start: Start, data: Path, tmp_path: Path, mounts: Mounts) -> None:
    rig = start(data, tmp_path)
    mounts.remount(data, "ro")
    for _ in range(4):
        rig.check_refusal(patch(rig, noise(MIB)), 503, "is mounted read-only; remount it")
    rig.check_pulls()
    mounts.remount(data, "rw")
    rig.check_end()


def test_a_disk_unmounted_under_the_server(
    start: Start, data: Path, tmp_path: Path, mounts: Mounts
) -> None:
    rig = start(data, tmp_path)
    image = data.parents[1] / "memory" / "disk.img"
    mounts.unmount(data, lazily=True)
    layer = f"/v2/{REPOSITORY}/blobs/{rig.pushes[1].layer}"
    for _ in range(4):
        rig.check_refusal(patch(rig, noise(MIB)), 503, "is the disk mounted?")
        rig.check_refusal(rig.wire.request("GET", layer), 503, "is the disk mounted?")
    assert list(data.iterdir()) == [], "nothing is written to the mount point"
    mounts.ext4(image, str(data), "commit=5")
    rig.check_end()


def test_the_databases_disk_is_full(start: Start, data: Path, mounts: Mounts) -> None:
    place = mounts.memory("database", 4 * MIB)
    rig = start(data, place)
    acknowledged, refusal = fill_database(rig)
    assert acknowledged
    rig.check_refusal(refusal, 507, "the database's disk is full: make room on it")
    rig.check_pulls()
    for blob in acknowledged:
        assert rig.wire.pull_blob(REPOSITORY, sha256_of(blob)) == blob
    mounts.remount(place, f"size={32 * MIB}")
    rig.check_end()


def fill_database(rig: Rig) -> tuple[list[bytes], Answer]:
    """Push blobs that live in the database until one is refused."""
    acknowledged: list[bytes] = []
    for number in range(200):
        blob = hashlib.shake_256(f"small {number}".encode()).digest(60_000)
        path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={sha256_of(blob)}"
        answer = rig.wire.request("POST", path, blob)
        if answer.status != http.client.CREATED:
            return acknowledged, answer
        acknowledged.append(blob)
    raise AssertionError("the database's disk never filled")
