"""Who of several does what only one may do: of a server's workers, and of a cluster's servers.

Of the workers it is decided by a lock of the kernel's, of the servers by a row in `leases`, by the
database's clock alone. A holder knows of its lease only what its own monotonic clock tells: it is
sure to have it for so long after it *asked*, less a margin, and stops before. So no two machines'
clocks are compared, and they may go at rates that differ by a tenth.
"""

import fcntl
import mmap
import os
from dataclasses import dataclass
from typing import Final

LEASE_SECONDS: Final = 30.0
"""How long a server that ends without a word keeps others from its work."""
RENEW_SECONDS: Final = 10.0
"""From one renewal to the next."""
MARGIN_SECONDS: Final = 5.0
"""So long before its lease may end, a holder that could not renew it stops."""


class LeaderLock:
    """What one worker of a server has and the others have not: to be made before they are forked.

    A lock of the kernel's, which falls to another worker when the one that has it dies. One that is
    dead and whose threads hang in the kernel keeps its locks: then the next lock is what counts.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("treescale-lead")
        self._number = memoryview(mmap.mmap(-1, 8)).cast("Q")  # shared with forks

    def acquire(self) -> bool:
        """Say whether this process has it, or takes it now."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._number[0])
        except BlockingIOError:
            return False
        return True

    def pass_on(self) -> None:
        """Let it be taken anew, whoever has it: for the supervisor, when a worker hangs dead."""
        self._number[0] += 1


@dataclass(frozen=True, slots=True)
class Tenure:
    """A lease as its holder sees it. Times are its own monotonic seconds."""

    fence: int
    """Higher than that of whoever had it before: what is written with a lower one is late."""
    asked: float
    """When the database was asked for what it granted; it granted it later."""

    @property
    def renew_at(self) -> float:
        """Return when to ask again."""
        return self.asked + RENEW_SECONDS

    @property
    def ends(self) -> float:
        """Return until when the holder may act."""
        return self.asked + LEASE_SECONDS - MARGIN_SECONDS
