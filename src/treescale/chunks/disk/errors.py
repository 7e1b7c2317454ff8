"""What a call that fails says of its disk: full, suspect, or only in the way for now.

A disk that fails to sync or rename is suspect: nothing is tried again, reads go on, writes end
until a restart of the server.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treescale.chunks.disk.state import DiskState
from treescale.errors import StoreFull, StoreUnusable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EINTR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOENT,
        errno.ENOMEM,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.ENXIO,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What says nothing about the disk's health: away, read-only, forbidden, too much at once, or
something in the way that is not ours."""
_REFUSALS: Final = frozenset({errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS})
"""What the next write will hear as well, whatever the file system says of itself: Linux does not
call one read-only that it has stopped writing to after an error (ext4's `emergency_ro`)."""


class DiskErrors:
    """Tells the state of a disk what its errors mean."""

    def __init__(self, root: Path, state: DiskState) -> None:
        self._root = root
        self._state = state

    @property
    def read_only(self) -> str:
        """Return what is said of a disk that is mounted so."""
        return f"{self._root} is mounted read-only; remount it to write again"

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note whether a write is refused; one that is not, be it a probe, takes that back."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EROFS:
                self._state.refuse(self.read_only)
            elif error.errno in _REFUSALS:
                self._state.refuse(
                    f"{self._root} refuses writes ({error.strerror}): see that its directories are "
                    "there, and that this server's user may write to them"
                )
            raise
        if self._state.refused:
            self._state.refuse("")

    @contextmanager
    def judging(self, doing: str) -> Iterator[None]:
        """Raise StoreFull or StoreUnusable for an OSError; a bad one makes the store suspect.

        Nothing that failed is tried again: after a failed fsync the kernel calls the lost pages
        clean, and a second fsync would succeed without them.
        """
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"{self._root} is full; add a disk or delete images") from error
            what = f"{self._root} failed when {doing}: {error.strerror}"
            if error.errno not in _PASSING:
                what += "; writing to it has ended: check the disk, then restart"
                self._state.fail(what)
            raise StoreUnusable(what) from error
