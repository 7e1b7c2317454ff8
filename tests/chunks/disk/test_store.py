"""The disk store: its promise, and what it does about bad bytes, full and foreign disks."""

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.chunk_store import ABSENT, ChunkStoreContract, chunk_of, listed
from tests.fakes_disk import JumpingClock
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.file import HASHED_AT_ONCE_BYTES, ChunkFile
from treescale.chunks.disk.store import ROOMY_BYTES_MIN, ROOMY_SECONDS_MAX, DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.verified import VerifiedFiles
from treescale.chunks.store import CHUNK_BYTES_MAX, chunk_id_of
from treescale.errors import ChunkUnknown, Corrupt, StoreFull, StoreUnusable

NO_RESERVE = Reserve(fraction=0.0, bytes_min=0, inodes_min=0)
Opener = Callable[..., DiskStore]


@pytest.fixture
def opener(tmp_path: Path, threads: Executor, clock: JumpingClock) -> Opener:
    """Return what opens the store, each time as a process of its own would."""

    def open_store(
        disk: Disk | None = None, reserve: Reserve = NO_RESERVE, trust: VerifiedFiles | None = None
    ) -> DiskStore:
        root = tmp_path / "store"
        return DiskStore.create_or_open(
            root, threads=threads, clock=clock, disk=disk, reserve=reserve, trust=trust
        )

    return open_store


@pytest.fixture
def store(opener: Opener) -> DiskStore:
    return opener()


def file_of(root: Path, chunk: bytes) -> Path:
    name = chunk.hex()
    return root / "store" / "chunks" / name[:2] / name[2:4] / name


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestDiskStore(ChunkStoreContract):
    @pytest.fixture
    def store(self, opener: Opener) -> DiskStore:
        return opener()


async def test_a_chunk_is_a_file_of_exactly_its_bytes(store: DiskStore, tmp_path: Path) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    assert file_of(tmp_path, chunk).read_bytes() == data
    assert names(tmp_path / "store" / "tmp") == []
    assert names(tmp_path / "store") == ["chunks", "quarantine", "store.json", "tmp", "trash"]


async def test_no_chunk_is_longer_than_any_may_be(store: DiskStore) -> None:
    data = bytes(CHUNK_BYTES_MAX + 1)
    with pytest.raises(Corrupt):
        await store.put(chunk_id_of(data), data)


async def test_two_processes_see_the_same_chunks(opener: Opener) -> None:
    one, other = opener(), opener()
    assert one.store_id == other.store_id
    chunk, data = chunk_of(1, 200_000)
    await asyncio.gather(*(store.put(chunk, data) for store in (one, other, one, other)))
    assert await other.get(chunk) == data
    assert await listed(one) == await listed(other) == [chunk]


# Corruption


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("read_before", [False, True])
async def test_each_flipped_byte_is_found_quarantined_and_healed(
    store: DiskStore, tmp_path: Path, clock: JumpingClock, *, read_before: bool
) -> None:
    chunk, data = chunk_of(1, 60)
    file = file_of(tmp_path, chunk)
    for place in range(len(data)):
        await store.put(chunk, data)
        if read_before:
            assert await store.get(chunk) == data
        file.write_bytes(flipped(data, place))
        clock.seconds += 1
        with pytest.raises(Corrupt, match="quarantine"):
            await store.get(chunk)
        with pytest.raises(ChunkUnknown):
            await store.get(chunk)
    assert len(names(tmp_path / "store" / "quarantine")) == len(data)
    await store.put(chunk, data)
    assert await store.get(chunk) == data


@pytest.mark.parametrize("content", [b"", b"0.", b"x" * 500, bytes(100)])
async def test_wrong_content_is_found_by_get_and_by_put(
    store: DiskStore, tmp_path: Path, content: bytes
) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    file_of(tmp_path, chunk).write_bytes(content)
    with pytest.raises(Corrupt):
        await store.get(chunk)
    await store.put(chunk, data)
    file_of(tmp_path, chunk).write_bytes(content)
    await store.put(chunk, data)
    assert await store.get(chunk) == data


async def test_a_file_longer_than_any_chunk_is_not_even_read(
    store: DiskStore, tmp_path: Path
) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    os.truncate(file_of(tmp_path, chunk), 1 << 40)
    with pytest.raises(Corrupt):
        await store.get(chunk)


async def test_swapped_files_are_both_corrupt(store: DiskStore, tmp_path: Path) -> None:
    (one, first), (other, second) = chunk_of(1), chunk_of(2)
    await store.put(one, first)
    await store.put(other, second)
    file_of(tmp_path, one).write_bytes(second)
    file_of(tmp_path, other).write_bytes(first)
    for chunk in (one, other):
        with pytest.raises(Corrupt):
            await store.get(chunk)


async def test_a_bad_file_that_was_replaced_meanwhile_is_not_quarantined(
    opener: Opener, tmp_path: Path
) -> None:
    chunk, data = chunk_of(1)

    class Replacing(Disk):
        """Another process replaces the bad file while this one is about to move it away."""

        def rename(self, source: Path, target: Path) -> None:
            if target.parent.name == "quarantine":
                source.unlink()
                source.write_bytes(data)
            super().rename(source, target)

    store = opener(Replacing())
    await store.put(chunk, data)
    file_of(tmp_path, chunk).write_bytes(b"bad")
    with pytest.raises(Corrupt):
        await store.get(chunk)
    assert await store.get(chunk) == data


# What is trusted


class FrozenDisk(Disk):
    """A disk whose files seem never to change, as when a sector rots under an unchanged file."""

    def __init__(self) -> None:
        self._seen: dict[int, os.stat_result] = {}

    def fstat(self, fd: int) -> os.stat_result:
        found = super().fstat(fd)
        return self._seen.setdefault(found.st_ino, found)

    def stamp_ns(self) -> int:
        return super().stamp_ns() + 1_000_000_000


async def test_a_verified_chunk_is_trusted_for_ten_minutes(
    opener: Opener, tmp_path: Path, clock: JumpingClock
) -> None:
    store = opener(FrozenDisk())
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    assert await store.get(chunk) == data
    rotten = flipped(data, 3)
    file_of(tmp_path, chunk).write_bytes(rotten)
    assert await store.get(chunk) == rotten
    clock.seconds += 601
    with pytest.raises(Corrupt):
        await store.get(chunk)


async def test_what_a_process_wrote_those_it_shares_its_trust_with_believe(
    opener: Opener, tmp_path: Path
) -> None:
    """And a write by anybody else is seen, however soon it comes."""
    trust = VerifiedFiles()
    chunk, data = chunk_of(1)
    await opener(trust=trust).put(chunk, data)
    file = opener(trust=trust).open_if_verified(chunk)
    assert file is not None
    file.close()
    assert opener().open_if_verified(chunk) is None
    with file_of(tmp_path, chunk).open("r+b") as written:
        written.write(b"x")
    assert opener(trust=trust).open_if_verified(chunk) is None
    with pytest.raises(Corrupt):
        await opener(trust=trust).get(chunk)


async def test_an_unknown_file_is_hashed_in_pieces_and_known_from_then_on(opener: Opener) -> None:
    chunk, data = chunk_of(1, size=HASHED_AT_ONCE_BYTES * 2 + 7)
    await opener().put(chunk, data)
    store = opener()
    assert store.open_if_verified(chunk) is None
    for found in (await store.open_verified(chunk), store.open_if_verified(chunk)):
        assert isinstance(found, ChunkFile)
        assert found.read(0, len(data)) == data
        found.close()


@pytest.mark.parametrize("at", [0, HASHED_AT_ONCE_BYTES * 2])
async def test_an_unknown_file_with_one_wrong_byte_is_not_handed_out(
    opener: Opener, tmp_path: Path, at: int
) -> None:
    chunk, data = chunk_of(1, size=HASHED_AT_ONCE_BYTES * 2 + 7)
    await opener().put(chunk, data)
    file_of(tmp_path, chunk).write_bytes(flipped(data, at))
    with pytest.raises(Corrupt):
        await opener().open_verified(chunk)
    assert len(names(tmp_path / "store" / "quarantine")) == 1


async def test_what_cannot_be_trusted_or_is_in_the_trash_comes_as_bytes(
    opener: Opener, tmp_path: Path
) -> None:
    chunk, data = chunk_of(1)
    store = opener()
    await store.put(chunk, data)
    os.utime(file_of(tmp_path, chunk), (2**33, 2**33))  # of the future: a write may not show
    assert await opener().open_verified(chunk) == data
    await store.delete(chunk)
    assert await opener().open_verified(chunk) == data
    with pytest.raises(ChunkUnknown):
        await store.open_verified(ABSENT)


async def test_undated_files_are_not_believed_as_written(opener: Opener) -> None:
    """The negative control: without its date, a write within the same tick could not be seen."""

    class Undating(Disk):
        def date(self, fd: int, ns: int) -> None:
            pass

        def stamp_ns(self) -> int:
            return 0  # as quick as a disk may be: in the tick of the write

    trust = VerifiedFiles()
    chunk, data = chunk_of(1)
    await opener(Undating(), trust=trust).put(chunk, data)
    assert opener(trust=trust).open_if_verified(chunk) is None


async def test_another_process_does_not_trust_it(opener: Opener, tmp_path: Path) -> None:
    store = opener(FrozenDisk())
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    await store.get(chunk)
    file_of(tmp_path, chunk).write_bytes(flipped(data, 3))
    with pytest.raises(Corrupt):
        await opener(FrozenDisk()).get(chunk)


async def test_a_put_of_a_known_chunk_is_checked_again_after_a_day(
    opener: Opener, tmp_path: Path, clock: JumpingClock
) -> None:
    store = opener(FrozenDisk())
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    file_of(tmp_path, chunk).write_bytes(flipped(data, 3))
    await store.put(chunk, data)
    assert file_of(tmp_path, chunk).read_bytes() != data
    clock.seconds += 86_401
    await store.put(chunk, data)
    assert file_of(tmp_path, chunk).read_bytes() == data


# The trash


async def test_a_deleted_chunk_is_in_the_trash_and_can_be_read_there(
    store: DiskStore, tmp_path: Path, clock: JumpingClock
) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    await store.delete(chunk)
    trashed = tmp_path / "store" / "trash" / chunk.hex()
    assert trashed.stat().st_mtime == clock.seconds
    assert (await store.usage()).restored == 0
    assert await store.get(chunk) == data
    assert (await store.usage()).restored == 1
    # It stays there: only a put brings a copy back (collection.md R14, R15).
    assert await store.have([chunk]) == [False]
    assert trashed.exists()
    await store.put(chunk, data)
    assert await store.have([chunk]) == [True]


async def test_a_corrupt_chunk_in_the_trash_is_not_read(store: DiskStore, tmp_path: Path) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    await store.delete(chunk)
    (tmp_path / "store" / "trash" / chunk.hex()).write_bytes(b"bad")
    with pytest.raises(Corrupt):
        await store.get(chunk)
    assert await store.have([chunk]) == [False]


# Room


class SpaceDisk(Disk):
    """A disk of which a test says how much is free."""

    def __init__(self, **fields: int) -> None:
        self.fields = fields

    def statvfs(self, path: Path) -> Any:
        found = super().statvfs(path)
        values = {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}
        return type("Space", (), values | self.fields)()


MIB = 1024 * 1024
ROOMY = {"f_frsize": 1, "f_blocks": 100_000 * MIB, "f_bavail": 2100 * MIB, "f_favail": 9999}


@pytest.mark.parametrize(
    ("fields", "size", "error"),
    [
        ({}, 100 * MIB, None),
        ({}, 100 * MIB + 1, StoreFull),  # 2 % of 100,000 MiB stay free
        ({"f_blocks": 1000 * MIB, "f_bavail": 257 * MIB}, MIB, None),
        ({"f_blocks": 1000 * MIB, "f_bavail": 257 * MIB}, MIB + 1, StoreFull),  # 256 MiB stay
        ({"f_favail": 999}, 0, StoreFull),
        ({"f_favail": 0, "f_files": 0}, 0, None),  # a file system that does not count inodes
        ({"f_flag": os.ST_RDONLY}, 0, StoreUnusable),
    ],
)
async def test_the_reserve_is_kept(
    opener: Opener, fields: dict[str, int], size: int, error: type[Exception] | None
) -> None:
    disk = SpaceDisk(**{**ROOMY, **fields})
    store = opener(disk, Reserve())
    if error is None:
        await store.check_space(size)
        assert (await store.usage()).trouble is None
    else:
        with pytest.raises(error):
            await store.check_space(size)


@pytest.mark.parametrize("ample", [True, False])
async def test_ample_room_is_not_asked_for_again_at_once(
    opener: Opener, clock: JumpingClock, *, ample: bool
) -> None:
    disk = SpaceDisk(**ROOMY | {"f_bavail": 2000 * MIB + ROOMY_BYTES_MIN + MIB - (not ample)})
    store = opener(disk, Reserve())
    await store.check_space(MIB)
    disk.fields["f_bavail"] = 0
    if ample:
        await store.check_space(MIB)
    with pytest.raises(StoreFull):
        await store.check_space(ROOMY_BYTES_MIN // 16 + 1)
    with pytest.raises(StoreFull):
        await store.put(*chunk_of(1))
    clock.seconds += ROOMY_SECONDS_MAX
    with pytest.raises(StoreFull):
        await store.check_space(0)
    with pytest.raises(StoreFull):
        await store.check_space(0)  # a refusal is not remembered: there may be room the next moment


async def test_a_full_store_writes_nothing_but_keeps_what_it_has(
    opener: Opener, tmp_path: Path
) -> None:
    disk = SpaceDisk(**ROOMY)
    store = opener(disk, Reserve())
    (one, data), other = chunk_of(1), chunk_of(2)
    await store.put(one, data)
    disk.fields["f_bavail"] = 0
    with pytest.raises(StoreFull):
        await store.put(*other)
    assert await store.get(one) == data
    await store.put(one, data)
    assert "room" in str((await store.usage()).trouble)
    await store.delete(one)
    disk.fields["f_bavail"] = ROOMY["f_bavail"]
    await store.put(*other)
    assert names(tmp_path / "store" / "tmp") == []


async def test_a_store_that_is_writable_again_is_written_to_again(opener: Opener) -> None:
    disk = SpaceDisk(f_flag=os.ST_RDONLY)
    store = opener(disk)
    with pytest.raises(StoreUnusable, match="read-only"):
        await store.put(*chunk_of(1))
    disk.fields.clear()
    await store.put(*chunk_of(1))


async def test_usage_tells_how_full_it_is(opener: Opener) -> None:
    usage = await opener(SpaceDisk(**ROOMY)).usage()
    assert (usage.bytes_total, usage.bytes_free) == (100_000 * MIB, 2100 * MIB)
    assert usage.inodes_free == 9999


# The label


async def test_a_store_keeps_its_id(opener: Opener) -> None:
    assert opener().store_id == opener().store_id


@pytest.mark.parametrize("before", [["lost+found"], ["store.json.new"], []])
async def test_an_empty_directory_becomes_a_store(
    opener: Opener, tmp_path: Path, before: list[str]
) -> None:
    (tmp_path / "store").mkdir()
    for name in before:
        (tmp_path / "store" / name).touch()
    await opener().put(*chunk_of(1))


def test_a_directory_of_something_else_is_refused(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "letters").touch()
    with pytest.raises(StoreUnusable, match="not empty"):
        opener()
    assert names(tmp_path / "store") == ["letters"]


@pytest.mark.parametrize(
    "label",
    [
        '{"format": 2, "store": "ab"}',
        '{"format": 1}',
        '{"format": 1, "store": ""}',
        '{"format": 1, "store": 7}',
        "[]",
        "",
        "\0",
        "[" * 4000,
    ],
)
def test_a_foreign_label_is_refused(opener: Opener, tmp_path: Path, label: str) -> None:
    opener()
    (tmp_path / "store" / "store.json").write_text(label, encoding="utf-8")
    with pytest.raises(StoreUnusable, match=r"store\.json"):
        opener()


async def unusable(store: DiskStore) -> None:
    for call in (
        store.put(*chunk_of(2)),
        store.get(ABSENT),
        store.have([ABSENT]),
        store.delete(ABSENT),
        store.check_space(0),
        listed(store),
    ):
        with pytest.raises(StoreUnusable):
            await call


async def test_an_unmounted_disk_is_not_an_empty_store(store: DiskStore, tmp_path: Path) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").mkdir()
    await unusable(store)
    assert names(tmp_path / "store") == []
    (tmp_path / "store").rmdir()
    (tmp_path / "away").rename(tmp_path / "store")
    assert await store.get(chunk) == data
    await store.put(*chunk_of(2))


async def test_a_swapped_disk_is_not_written_to(
    store: DiskStore, opener: Opener, tmp_path: Path
) -> None:
    (tmp_path / "store").rename(tmp_path / "away")
    other = opener()
    assert other.store_id != store.store_id
    await unusable(store)
    assert await listed(other) == []


async def test_the_same_store_in_another_place_goes_on(store: DiskStore, tmp_path: Path) -> None:
    label = tmp_path / "store" / "store.json"
    copy = label.read_bytes()
    label.unlink()
    label.write_bytes(copy)
    await store.put(*chunk_of(1))


# tmp


async def test_clean_tmp_removes_what_dead_processes_left(store: DiskStore, tmp_path: Path) -> None:
    tmp = tmp_path / "store" / "tmp"
    token = Disk().process_token(os.getpid())
    alive = f"{'ab' * 32}.{token}.7"
    for name in (alive, f"{'ab' * 32}.{os.getpid()}-00000000-1.7", f"{'ab' * 32}.x.7", "odd"):
        (tmp / name).touch()
    assert await store.clean_tmp() == 3
    assert names(tmp) == [alive]


def test_a_process_that_is_not_there_has_no_token() -> None:
    assert Disk().process_token(2**22 + 1) is None


async def test_strange_names_are_not_listed(store: DiskStore, tmp_path: Path) -> None:
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    leaf = file_of(tmp_path, chunk).parent
    (leaf / "README").touch()
    (leaf / ("0" * 64)).touch()
    (leaf.parent / "file").touch()
    (leaf.parent / "zz").touch()
    assert await listed(store) == [chunk]


async def test_a_short_read_is_read_on(opener: Opener) -> None:
    class Short(Disk):
        def read(self, fd: int, size: int) -> bytes:
            return super().read(fd, min(size, 7))

        def write(self, fd: int, data: bytes | memoryview) -> int:
            return super().write(fd, data[:9])

    store = opener(Short())
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    assert await store.get(chunk) == data


async def test_a_sector_that_cannot_be_read_is_corrupt_and_other_read_errors_are_not(
    opener: Opener, tmp_path: Path
) -> None:
    class Unreadable(Disk):
        error = errno.ENOMEM

        def read(self, fd: int, size: int) -> bytes:
            if size == len(data):
                raise OSError(self.error, "no")
            return super().read(fd, size)

    chunk, data = chunk_of(1)
    disk = Unreadable()
    store = opener(disk)
    await store.put(chunk, data)
    with pytest.raises(StoreUnusable):
        await store.get(chunk)
    disk.error = errno.EIO
    with pytest.raises(Corrupt):
        await store.get(chunk)
    assert len(names(tmp_path / "store" / "quarantine")) == 1
    await store.put(chunk, data)
