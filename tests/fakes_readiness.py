"""A server that is fit for everything, or unfit for what a test says, and in a cluster of one."""

import asyncio
from collections.abc import Sequence

from treescale.api.metrics import MetricsDesk
from treescale.api.stopping import StopDesk
from treescale.clock import Clock, SystemClock
from treescale.cluster.readiness import NEEDED, Check, Finding, Purpose, Reason
from treescale.errors import ServerForgotten
from treescale.http.administrators import Administrators
from treescale.maintenance.stopping import Stopping
from treescale.metadata.database import Database
from treescale.metrics.meters import Meters
from treescale.metrics.page import page


class Fit:
    """Answers as `server.readiness.Readiness` does; `wrong` is what a test has go wrong."""

    def __init__(self) -> None:
        self.wrong: dict[Check, Reason] = {}
        self.forgotten = False
        """By its cluster: it is no part of that any more."""

    def check_member(self) -> None:
        """Raise ServerForgotten as `server.cluster_view.ClusterView` does."""
        if self.forgotten:
            raise ServerForgotten("the cluster has forgotten this server")

    def __call__(self, purpose: Purpose) -> Sequence[Finding]:
        """Return how the server is."""
        return [
            Finding(check, self.wrong.get(check, Reason.WELL))
            for check in Check
            if check in NEEDED[purpose]
        ]


def stop_desk(database: Database) -> StopDesk:
    """Return what answers whether the server `alone` may be stopped."""
    clock = SystemClock()
    administrators = Administrators(database.users, clock)
    return StopDesk(Stopping(database, clock, asyncio.sleep), administrators, "alone")


def metrics_desk(
    database: Database, meters: Meters | None = None, clock: Clock | None = None
) -> MetricsDesk:
    """Return what answers `/metrics` with what these count."""
    counting = meters or Meters()

    async def told() -> bytes:
        return page(counting.families())

    return MetricsDesk(told, Administrators(database.users, clock or SystemClock()))
