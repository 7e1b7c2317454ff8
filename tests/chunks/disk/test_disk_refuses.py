"""A disk that takes no writes, and says nothing of that when it is asked for its state."""

import errno
import os
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import ROOMY, Opener, SpaceDisk, opener
from tests.contracts.chunk_store import chunk_of
from treescale.chunks.disk.directory import Reserve
from treescale.errors import StoreUnusable
from treescale.metadata.records import is_read_only

__all__ = ["opener"]


class RefusingDisk(SpaceDisk):
    """A disk that takes no new file, and says nothing of that when it is asked for its state."""

    def __init__(self) -> None:
        super().__init__(**ROOMY)
        self.error = 0

    def open(self, path: Path | str, flags: int, mode: int = 0o600) -> int:
        if self.error and flags & os.O_CREAT:
            raise OSError(self.error, os.strerror(self.error), str(path))
        return super().open(path, flags, mode)


@pytest.mark.parametrize("again", ["put", "probe"])
@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT])
async def test_a_disk_that_refuses_writes_is_in_trouble_until_it_takes_one(
    opener: Opener, error: int, again: str
) -> None:
    """After an error ext4 writes no more, and statvfs does not call it read-only."""
    disk = RefusingDisk()
    store = opener(disk, Reserve())
    await store.put(*chunk_of(0))
    disk.error = error
    with pytest.raises(StoreUnusable):
        await store.put(*chunk_of(1))
    assert store.state.unwritable == "a disk refuses writes"
    trouble = (await store.usage()).trouble or ""
    assert trouble == store.trouble
    assert is_read_only(trouble) is (error == errno.EROFS)
    await store.put(*chunk_of(0))
    assert store.trouble, "what is there already is not written"
    disk.error = 0
    if again == "put":
        await store.put(*chunk_of(1))
    else:
        store._here().probe()
    assert (await store.usage()).trouble is None
    assert store.state.unwritable == ""


async def test_a_probe_finds_a_disk_that_refuses_writes(opener: Opener) -> None:
    disk = RefusingDisk()
    store = opener(disk, Reserve())
    disk.error = errno.EROFS
    with pytest.raises(StoreUnusable):
        store._here().probe()
    assert store.trouble
