"""A server that is fit for everything, or unfit for what a test says, and in a cluster of one."""

import asyncio
from collections.abc import Sequence

from treescale.api.stopping import StopDesk
from treescale.clock import SystemClock
from treescale.cluster.readiness import NEEDED, Check, Finding, Purpose, Reason
from treescale.maintenance.stopping import Stopping
from treescale.metadata.database import Database


class Fit:
    """Answers as `server.readiness.Readiness` does; `wrong` is what a test has go wrong."""

    def __init__(self) -> None:
        self.wrong: dict[Check, Reason] = {}

    def __call__(self, purpose: Purpose) -> Sequence[Finding]:
        """Return how the server is."""
        return [
            Finding(check, self.wrong.get(check, Reason.WELL))
            for check in Check
            if check in NEEDED[purpose]
        ]


def stop_desk(database: Database) -> StopDesk:
    """Return what answers whether the server `alone` may be stopped."""
    return StopDesk(Stopping(database, SystemClock(), asyncio.sleep), database.users, "alone")
