"""A backup's file: nobody sees it under its name before it is whole, synced and read back.

Until then it is a draft beside it, locked by whoever writes it; one that a killed command left is
begun anew.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from treescale.errors import Failed, SettingInvalid

PART: Final = ".part"
BEGIN: Final = b"TreeScale backup "
_MODE: Final = 0o600  # keys and hashes are in it


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise SettingInvalid when no backup may be written there."""
    if not path.parent.is_dir():
        raise SettingInvalid(f"there is no directory {path.parent}: make it first")
    if path.is_dir():
        raise SettingInvalid(f"{path} is a directory: name a file, or say --keep DAYS")
    if path.exists() and not overwrite:
        raise SettingInvalid(f"{path} is there already: name another file, or say --overwrite")
    if path.exists() and not _may_go(path):
        raise SettingInvalid(f"{path} is no backup of TreeScale, so it stays: name another")


def is_backup(path: Path) -> bool:
    """Say whether a file begins as a backup does; raises OSError when it cannot be read."""
    return _begin(path) == BEGIN


def _may_go(path: Path) -> bool:
    """Say whether it is a backup, or an empty file."""
    return path.is_file() and _begin(path) in (b"", BEGIN)


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(BEGIN))


@contextmanager
def new_file(path: Path, *, overwrite: bool, draft: str = "") -> Iterator[BinaryIO]:
    """Have a file to write; it is at `path`, durably, when the block has ended well.

    Until then it has the name `draft`, or that of `path` with `.part` behind it.
    After an error nothing is left, and what was at `path` is untouched. Raises SettingInvalid when
    something is there, or another command is writing it; Failed when it cannot be written.
    """
    check_free(path, overwrite=overwrite)
    part = path.with_name(draft or path.name + PART)
    try:
        with _locked(part) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                check_free(path, overwrite=overwrite)
                part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        _sync(path.parent)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Have the draft, empty, and for this process alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, _MODE), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            is_there = False
        if not is_there:  # it has got its name meanwhile, or is about to
            raise SettingInvalid(f"{part} is being written by another command: wait for it")
        os.fchmod(file.fileno(), _MODE)
        file.truncate()
        yield file


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
