"""`store.json`: the label that makes a directory a store, and how to tell that it is still there.

    {"format": 1, "store": "<32 hex digits>"}

A directory without it is never written to, and never taken for an empty store: it may be the mount
point of a disk that is away. Only an empty (or absent) directory is made a store.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

from treescale.chunks.disk.syscalls import Disk, read_all, replace_file
from treescale.errors import StoreUnusable

FORMAT: Final = 1
DIRECTORIES: Final = ("chunks", "tmp", "quarantine", "trash")
LABEL_FILE: Final = "store.json"
_DRAFT: Final = "store.json.new"
_NOT_CONTENT: Final = frozenset({_DRAFT, "lost+found"})
"""What an empty directory may hold: a label cut short by a crash, and what mkfs leaves."""
_LABEL_BYTES_MAX: Final = 4096


class Label:
    """The label of one opened store."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._disk = disk
        self._path = root / LABEL_FILE
        self.store_id = _read(disk, self._path)
        self._place = self._stat()

    def check(self) -> None:
        """Return when the label is where it was; raises StoreUnusable when the disk is not.

        Costs one stat as long as nothing changed.
        """
        place = self._stat()
        if place == self._place:
            return
        found = _read(self._disk, self._path)
        if found != self.store_id:
            raise StoreUnusable(
                f"{self._path.parent} holds store {found} now, not {self.store_id}: "
                "mount the right disk there, or restart with the disks as they are"
            )
        self._place = place

    def _stat(self) -> tuple[int, int]:
        try:
            found = self._disk.stat(self._path)
        except OSError as error:
            raise _gone(self._path, error) from error
        return found.st_dev, found.st_ino


def look_at(root: Path, disk: Disk) -> str:
    """Return the id of the store at `root`, "" when it is absent or empty; writes nothing.

    Raises StoreUnusable for a directory that holds anything else, or cannot be read.
    """
    try:
        names = frozenset(disk.listdir(root))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreUnusable(f"{root} cannot be read ({error.strerror}): check its disk") from error
    if LABEL_FILE in names:
        return _read(disk, root / LABEL_FILE)
    if names - _NOT_CONTENT:
        raise _not_empty(root)
    return ""


def open_label(root: Path, disk: Disk) -> Label:
    """Return the label of an existing store, all that was written there synced; StoreUnusable."""
    label = Label(root, disk)
    try:
        for name in DIRECTORIES:
            _make(disk, root / name)
        disk.syncfs(root)
    except OSError as error:
        raise StoreUnusable(
            f"{root} cannot be used as a store: {error.strerror or error}. "
            "Check its disk, and that this user may write to it"
        ) from error
    return label


def create_label(root: Path, disk: Disk, new_id: Callable[[], str] = lambda: uuid4().hex) -> None:
    """Make `root` a store, durably, if it is absent or empty; nothing happens when it is one.

    Raises StoreUnusable for a directory that holds anything else.
    """
    try:
        _make_root(disk, root)
        names = frozenset(disk.listdir(root))
        if LABEL_FILE in names:
            return
        if names - _NOT_CONTENT:
            raise _not_empty(root)
        text = json.dumps({"format": FORMAT, "store": new_id()}).encode()
        replace_file(disk, root / LABEL_FILE, root / _DRAFT, text)
    except OSError as error:
        raise StoreUnusable(
            f"no store can be made in {root}: {error.strerror or error}. "
            "Name with --data a directory, or one to be made, that this user may write to"
        ) from error


def _make_root(disk: Disk, root: Path) -> None:
    """Make the directory and its missing parents, durably."""
    for path in (*reversed(root.parents), root):
        if not path.exists():
            _make(disk, path)
            disk.fsync_directory(path.parent)


def _make(disk: Disk, path: Path) -> None:
    try:
        disk.mkdir(path)
    except FileExistsError:
        return


def _read(disk: Disk, path: Path) -> str:
    """Return the store's id; raises StoreUnusable when this is no label of ours."""
    try:
        fd = disk.open(path, os.O_RDONLY | os.O_NONBLOCK)  # it may be anything: a pipe would wait
        try:
            text = read_all(disk, fd, _LABEL_BYTES_MAX)
        finally:
            disk.close(fd)
    except OSError as error:
        raise _gone(path, error) from error
    return _parse(path, text)


def _parse(path: Path, text: bytes) -> str:
    try:
        label = json.loads(text)
        version, store_id = label["format"], label["store"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreUnusable(f"{path} is not a store's label; restore it from a backup") from error
    if version != FORMAT:
        raise StoreUnusable(f"{path} has format {version}; this release reads format {FORMAT}")
    if not isinstance(store_id, str) or not store_id:
        raise StoreUnusable(f"{path} names no store; restore it from a backup")
    return store_id


def _not_empty(root: Path) -> StoreUnusable:
    return StoreUnusable(
        f"{root} is not empty and has no {LABEL_FILE}: is its disk mounted? "
        "A new store needs an empty directory"
    )


def _gone(path: Path, error: OSError) -> StoreUnusable:
    return StoreUnusable(f"{path} cannot be read ({error.strerror}): is the disk mounted?")
