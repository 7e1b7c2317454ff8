"""`/cluster` and `/read-only`: how the cluster is, and what of it is read-only."""

import asyncio
from typing import Any, Final

import msgspec

from treescale.clock import Clock
from treescale.cluster.admin import set_read_only
from treescale.console.route import Answered, Asked
from treescale.lease_times import OFF, ON
from treescale.maintenance.report.cluster_status import no_room
from treescale.maintenance.report.columns import exact_row
from treescale.maintenance.report.reading import read_report
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of
from treescale.oci.names import check_namespace, check_repository

REPORT_SECONDS: Final = 5.0
"""A report so young is given once more: it counts all there is."""
Rows = list[dict[str, Any]]


class ClusterReport(msgspec.Struct):
    """What `treescale cluster status --json` says: the summary, and these lists beside it."""

    servers: Rows
    stores: Rows
    lost: Rows
    advice: Rows
    collection: Rows
    freeing: Rows
    purges: Rows
    read_only: bool
    may_stop: bool


class ReadOnlyState(msgspec.Struct, forbid_unknown_fields=True):
    """Whether it is read-only by itself: pulls go on, nothing is pushed or deleted."""

    read_only: bool


class ReadOnlyChanged(msgspec.Struct):
    """Whether the cluster is read-only, and which servers of an older version take pushes."""

    read_only: bool
    not_heeded_by: list[str]
    """By name; to be stopped."""


class ClusterDesk:
    """What answers for the cluster."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._report: dict[str, object] = {}

    async def status(self, _: Asked) -> Answered:
        """Say how the cluster is; what was read within `REPORT_SECONDS` is said again."""
        async with self._reading:
            if self._clock.monotonic() - self._read_at >= REPORT_SECONDS:
                report = await read_report(self._database)
                self._report = exact_row({**report.summary(), **report.lists(no_room)})
                self._read_at = self._clock.monotonic()
            return Answered(self._report)

    async def get_read_only(self, _: Asked) -> Answered:
        """Say whether the cluster is read-only."""
        return Answered(ReadOnlyState(await self._database.read_only.cluster()))

    async def put_read_only(self, asked: Asked) -> Answered:
        """Have it be read-only, or not. Once this is answered it is so on all servers."""
        wanted: ReadOnlyState = asked.body
        actor = actor_of(asked.principal.user)
        older = await set_read_only(self._database, ON if wanted.read_only else OFF, actor=actor)
        return Answered(ReadOnlyChanged(wanted.read_only, older))

    async def get_read_only_of(self, asked: Asked) -> Answered:
        """Say it of a repository, or, by a name without a slash, of a namespace."""
        name, switches = asked.name, self._database.read_only
        if _is_repository(name):
            return Answered(ReadOnlyState(await switches.of_repository(name)))
        return Answered(ReadOnlyState(await switches.of_namespace(name)))

    async def put_read_only_of(self, asked: Asked) -> Answered:
        """Have one of these be read-only, or not."""
        wanted: ReadOnlyState = asked.body
        name, switches = asked.name, self._database.read_only
        put = switches.set_repository if _is_repository(name) else switches.set_namespace
        await put(name, read_only=wanted.read_only, actor=actor_of(asked.principal.user))
        return Answered(wanted)


def _is_repository(name: str) -> bool:
    """Say which of the two the name is; raises NameInvalid when it can be neither."""
    if "/" in name:
        check_repository(name)
        return True
    check_namespace(name)
    return False
