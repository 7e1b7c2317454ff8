"""What a server says of itself every few seconds, through its leader: that it lives, and how.

With it the leader looks at the others and proposes the layout that is due (`cluster/membership`).
What cannot be said changes nothing: without the database the server goes on as it is.
"""

from collections.abc import Callable
from typing import Final

from treescale.clock import Clock
from treescale.cluster.membership import HeartbeatResult, Membership
from treescale.log import get_logger
from treescale.metadata.records import Throughput
from treescale.metrics.rate import RateMeter
from treescale.metrics.traffic import TrafficCounters
from treescale.server.cluster_view import ClusterView
from treescale.server.data.local_stores import LocalStores

CLOCK_ERROR_SECONDS_MAX: Final = 5.0
"""A clock further off than this is worth a warning (faults.md, section 6)."""


class Heartbeat:
    """The heartbeat of this server, as one of its workers would do it: the one that leads does."""

    def __init__(
        self,
        here: LocalStores,
        membership: Membership,
        view: ClusterView,
        traffic: TrafficCounters,
        clock: Clock,
        certificate_expires: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._here = here
        self._membership = membership
        self._view = view
        self._traffic = traffic
        self._clock = clock
        self._certificate_expires = certificate_expires
        self._meter = RateMeter()
        self._throughput: Throughput | None = None
        self._said: tuple[object, ...] = ()
        self._log = get_logger()

    def measure(self) -> None:
        """Look at how much has passed; in every worker, so that the next to lead knows it too."""
        rates = self._meter.sample(self._traffic.totals(), self._clock.monotonic())
        self._throughput = None if rates is None else Throughput(*rates)

    async def beat(self) -> HeartbeatResult:
        """Say that this server lives and how its stores are, and move the layout on.

        For one worker of a server. Returns what it found. Raises DatabaseUnavailable and its like,
        and ServerUnknown when the cluster has forgotten this server.
        """
        reports = await self._here.reports()
        unreached = self._view.peers.unreached()
        found = await self._membership.heartbeat(
            reports, self._throughput, unreached, self._certificate_expires()
        )
        self._say(found)
        if found.changed:
            await self._view.follow()
        return found

    def _say(self, found: HeartbeatResult) -> None:
        """Log what is new since the last beat."""
        if found.changed and found.layout is not None:
            self._log.warning(
                "layout.changed",
                number=found.layout.number,
                stores=[store.store_id for store in found.layout.stores],
                copies=found.layout.copies,
            )
        late = abs(found.clock_error) > CLOCK_ERROR_SECONDS_MAX
        said = (*found.decision.held.items(), late)
        if said != self._said:
            self._said = said
            for store_id, why in found.decision.held.items():
                self._log.warning("layout.held", store=store_id, reason=why.value)
            if late:
                self._log.warning("clock.off", seconds=round(found.clock_error, 1))
