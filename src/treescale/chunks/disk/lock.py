"""One server for each data directory: a lock of the kernel's, held for as long as it runs.

Another process that cleaned up in the same directory would take chunks away half written. The lock
ends with the processes that have it, however they end. It says nothing of other machines: there
the database tells who has a store.

Whoever has it on a directory, under the same kernel, knows that those who had it before have ended,
and need not wait until the cluster believes that: the database remembers which directory it was,
its *place*. A copy is another directory; another machine, or this one after a boot, another kernel.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from treescale.errors import StoreUnusable

WAIT_SECONDS_MAX: Final = 3.0
"""Workers that outlived a killed server are gone by then."""
LOOK_SECONDS: Final = 0.05
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class DirectoryLock:
    """The data directories a server has for itself, within; taken before workers are forked."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS_MAX) -> None:
        self._wait_seconds = wait_seconds
        self._held: dict[Path, int] = {}

    def __enter__(self) -> Self:
        """Begin with none."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of all, in this process."""
        self.let_go()

    def let_go(self) -> None:
        """Let go of all, in this process; others that were forked from it may have them still."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    async def take(self, roots: Iterable[str]) -> None:
        """Take the directories that exist and are not taken yet; StoreUnusable when one is in use.

        Others may be made meanwhile: ask again once they are there.
        """
        for root in (Path(each) for each in roots):
            if root not in self._held and root.is_dir():
                await self._take(root)

    def place(self, root: str) -> str:
        """Return what nobody else can say while this holds the directory; "" when it does not."""
        fd = self._held.get(Path(root))
        if fd is None:
            return ""
        found = os.fstat(fd)
        return f"{_BOOT.read_text().strip()} {found.st_dev} {found.st_ino}"

    async def _take(self, root: Path) -> None:
        try:
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnusable(f"{root} cannot be opened: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._wait_seconds):
                while not _locked(fd):  # noqa: ASYNC110  the kernel tells nobody
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            os.close(fd)
            raise StoreUnusable(
                f"{root} is in use by a server that runs on this machine: stop that one, or give "
                "this one a --data of its own"
            ) from error
        self._held[root] = fd


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
