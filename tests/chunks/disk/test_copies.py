"""Copies that are kept for others, trimmed, and read back past the kernel's memory."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import product
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import NO_RESERVE, file_of, flipped, names
from tests.contracts.chunk_store import chunk_of
from tests.fakes_disk import JumpingClock
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.verified import FileStamp
from treescale.chunks.store import CHUNK_BYTES_MAX, chunk_id_of
from treescale.errors import ChunkUnknown, Corrupt, StoreUnusable

CHUNK, DATA = chunk_of(1)
ROUNDS = int(os.environ.get("COPIES_ROUNDS", "600"))
CONTROL_ROUNDS = 100


class WatchedDisk(Disk):
    """Counts what is read past the kernel's memory, which may find other bytes there."""

    def __init__(self) -> None:
        self.past: Callable[[bytes], bytes] = lambda data: data
        self.forgotten = 0

    def read_past_cache(self, path: Path | str, size: int) -> bytes:
        return self.past(bytes(super().read_past_cache(path, size)))

    def uncache(self, fd: int) -> None:
        self.forgotten += 1
        super().uncache(fd)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
async def store(
    tmp_path: Path, threads: Executor, clock: JumpingClock, disk: WatchedDisk
) -> DiskStore:
    store = DiskStore.create_or_open(
        tmp_path / "store", threads=threads, clock=clock, disk=disk, reserve=NO_RESERVE
    )
    await store.put(CHUNK, DATA)
    return store


async def stamp_of(store: DiskStore) -> FileStamp:
    (stamp,) = await store.stamps([CHUNK])
    assert stamp is not None
    return stamp


# Keep


async def test_what_is_kept_has_another_stamp_and_is_there(store: DiskStore) -> None:
    before = await stamp_of(store)
    assert await store.keep([CHUNK, chunk_of(2)[0]]) == [True, False]
    after = await stamp_of(store)
    assert before[:3] == after[:3]
    assert before != after
    assert await store.keep([CHUNK]) == [True]
    assert await stamp_of(store) != after


async def test_a_bad_copy_is_not_kept(store: DiskStore, tmp_path: Path) -> None:
    file_of(tmp_path, CHUNK).write_bytes(flipped(DATA, 3))
    assert await store.keep([CHUNK]) == [False]
    assert len(names(tmp_path / "store" / "quarantine")) == 1
    assert await store.stamps([CHUNK]) == [None]


async def test_the_trash_is_not_counted(store: DiskStore) -> None:
    await store.delete(CHUNK)
    assert await store.keep([CHUNK]) == [False]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "socket"])
async def test_what_is_no_file_is_not_kept(store: DiskStore, tmp_path: Path, kind: str) -> None:
    path = file_of(tmp_path, CHUNK)
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        bound = socket.socket(socket.AF_UNIX)
        monkey = os.open(path.parent, os.O_RDONLY)  # a socket's path is short
        bound.bind(f"/proc/self/fd/{monkey}/{path.name}")
        os.close(monkey)
        bound.close()
    assert await store.keep([CHUNK]) == [False]
    await store.put(CHUNK, DATA)
    assert await store.keep([CHUNK]) == [True]


async def test_a_copy_that_cannot_be_given_a_time_is_not_kept(
    store: DiskStore, disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(fd: int, ns: int) -> None:  # noqa: ARG001
        raise PermissionError(1, "not the owner's")

    monkeypatch.setattr(disk, "date", refused)
    assert await store.keep([CHUNK]) == [False]
    assert await store.get(CHUNK) == DATA


# Trim


async def test_a_copy_that_is_as_it_was_is_trimmed(
    store: DiskStore, tmp_path: Path, clock: JumpingClock
) -> None:
    assert await store.trim(CHUNK, await stamp_of(store))
    assert await store.have([CHUNK]) == [False]
    assert (tmp_path / "store" / "trash" / CHUNK.hex()).stat().st_mtime == clock.seconds
    assert await store.get(CHUNK) == DATA


async def test_what_was_kept_since_is_not_trimmed(store: DiskStore) -> None:
    stamp = await stamp_of(store)
    await store.keep([CHUNK])
    assert not await store.trim(CHUNK, stamp)
    assert await store.have([CHUNK]) == [True]


async def test_what_was_put_anew_since_is_not_trimmed(store: DiskStore) -> None:
    stamp = await stamp_of(store)
    await store.delete(CHUNK)
    await store.put(CHUNK, DATA)
    assert not await store.trim(CHUNK, stamp)
    assert await store.have([CHUNK]) == [True]


async def test_what_is_gone_is_not_trimmed(store: DiskStore) -> None:
    stamp = await stamp_of(store)
    await store.delete(CHUNK)
    assert not await store.trim(CHUNK, stamp)
    assert not await store.trim(chunk_of(77)[0], stamp)


async def test_nothing_is_trimmed_while_somebody_writes_beside_it(
    store: DiskStore, disk: WatchedDisk, tmp_path: Path
) -> None:
    stamp = await stamp_of(store)
    fd = disk.lock_shared(file_of(tmp_path, CHUNK).parent)
    assert not await store.trim(CHUNK, stamp)
    disk.close(fd)
    assert await store.trim(CHUNK, stamp)


async def test_nothing_is_kept_or_trimmed_on_a_disk_that_has_failed(
    store: DiskStore, disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = await stamp_of(store)

    def failing(path: Path) -> None:
        raise OSError(5, "input/output error", path)

    monkeypatch.setattr(disk, "fsync_directory", failing)
    with pytest.raises(StoreUnusable):
        await store.trim(CHUNK, stamp)
    with pytest.raises(StoreUnusable):
        await store.keep([CHUNK])


def raced(root: Path, *what: str | int) -> dict[str, int]:
    """Return what two processes said; see `racing`."""
    command = [sys.executable, "-m", "tests.chunks.disk.racing", root, *what]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, int] = eval(done.stdout)  # noqa: S307  its own words
    return found


@pytest.mark.long
@pytest.mark.parametrize("how", ["keep", "put", "known"])
def test_two_processes_never_both_say_yes(tmp_path: Path, how: str) -> None:
    """By hand: COPIES_ROUNDS=100000, some minutes."""
    found = raced(tmp_path / "store", how, ROUNDS)
    assert found["gone"] == 0
    assert found["trimmed"] > 0
    assert found[how] > 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "off"),
    [*product(["keep", "put", "known"], ["lock", "stamp"]), ("known", "touch")],
)
def test_without_lock_stamp_or_touch_they_do(tmp_path: Path, how: str, off: str) -> None:
    assert raced(tmp_path / "store", how, CONTROL_ROUNDS, off)["gone"] > 0


# Reading back


async def test_what_is_sound_is_read_back_and_left_alone(
    store: DiskStore, disk: WatchedDisk
) -> None:
    assert await store.read_back(CHUNK) == len(DATA)
    assert disk.forgotten == 0
    chunk, data = chunk_of(3, CHUNK_BYTES_MAX)
    await store.put(chunk, data)
    assert await store.read_back(chunk) == CHUNK_BYTES_MAX
    await store.put(chunk_id_of(b""), b"")
    assert await store.read_back(chunk_id_of(b"")) == 0


async def test_what_is_not_there_is_unknown(store: DiskStore) -> None:
    with pytest.raises(ChunkUnknown):
        await store.read_back(chunk_of(2)[0])


@pytest.mark.parametrize("size", [60, CHUNK_BYTES_MAX])
async def test_a_bad_copy_goes_to_quarantine_and_nothing_takes_its_place(
    store: DiskStore, tmp_path: Path, clock: JumpingClock, size: int
) -> None:
    """Bytes after the last one are bad, too."""
    chunk, data = chunk_of(2, size)
    for bad in (flipped(data, 5), data[:-1], data + b"\0"):
        await store.put(chunk, data)
        file_of(tmp_path, chunk).write_bytes(bad)
        with pytest.raises(Corrupt, match="quarantine"):
            await store.read_back(chunk)
        assert await store.have([chunk]) == [False]
        clock.seconds += 1
    assert len(names(tmp_path / "store" / "quarantine")) == 3


async def test_what_was_read_badly_once_is_looked_at_again(
    store: DiskStore, disk: WatchedDisk, tmp_path: Path
) -> None:
    disk.past = lambda data: flipped(data, 0)
    assert await store.read_back(CHUNK) == 0
    assert disk.forgotten == 1
    assert await store.have([CHUNK]) == [True]
    assert names(tmp_path / "store" / "quarantine") == []


async def test_a_sector_that_cannot_be_read_is_asked_of_the_disk_again(
    store: DiskStore, disk: WatchedDisk
) -> None:
    """The kernel's memory may still have it, and is not asked."""

    def unreadable(_data: bytes) -> bytes:
        raise OSError(5, "input/output error")

    disk.past = unreadable
    assert await store.read_back(CHUNK) == 0
    assert disk.forgotten == 1


def test_a_file_system_that_cannot_pass_its_memory_by_is_read_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, path = os.open, tmp_path / "file"
    path.write_bytes(DATA)

    def refusing(name: Path, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "invalid argument", name)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    assert bytes(Disk().read_past_cache(path, 1000)) == DATA
    assert bytes(Disk().read_past_cache(path, 10)) == DATA[:10]


# A file that is sent while its chunk is put again, trashed and brought back (collection.md R9)


@pytest.fixture
async def file(store: DiskStore) -> ChunkFile:
    found = await store.open_verified(CHUNK)
    assert isinstance(found, ChunkFile)
    return found


def sent(file: ChunkFile) -> bytes:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(0)
        assert file.send(here.fileno(), 0, len(DATA)) == len(DATA)
        return there.recv(len(DATA))


async def test_new_times_alone_cut_nothing(
    store: DiskStore, file: ChunkFile, disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, real = list[int](), ChunkFile._hashed

    def counting(self: ChunkFile) -> str:
        hashed.append(1)
        return real(self)

    monkeypatch.setattr(ChunkFile, "_hashed", counting)
    assert sent(file) == DATA
    assert not hashed
    await store.keep([CHUNK])
    assert sent(file) == file.read(0, len(DATA)) == DATA
    assert await store.trim(CHUNK, await stamp_of(store))
    assert sent(file) == DATA
    root = store.root
    disk.rename(root / "trash" / CHUNK.hex(), file_of(root.parent, CHUNK))
    assert await file.read_apart(0, len(DATA)) == DATA
    assert sent(file) == DATA
    assert len(hashed) == 3, "once for each change, whoever saw it first"


async def test_other_bytes_cut_it(store: DiskStore, file: ChunkFile) -> None:
    path = file_of(store.root.parent, CHUNK)
    path.write_bytes(flipped(DATA, 7))
    with pytest.raises(Corrupt, match="changed while it was sent"):
        sent(file)
    with pytest.raises(Corrupt, match="changed while it was read"):
        file.read(0, 10)
    os.truncate(path, 3)
    with pytest.raises(Corrupt):
        sent(file)


async def test_without_a_second_look_a_touch_cuts_it(
    store: DiskStore, file: ChunkFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChunkFile, "_hashed", lambda self: "")  # noqa: ARG005
    await store.keep([CHUNK])
    with pytest.raises(Corrupt):
        sent(file)
