"""The whole of `treescale cluster status`, read at one moment; `/api/v1/cluster` says the same."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale.clock import SystemClock
from treescale.cluster.advice import Advice, advice
from treescale.cluster.placement_report import Uncounted
from treescale.cluster.queries import StatusReading, read_status, uncounted_of
from treescale.maintenance.report.cluster_status import (
    LOST_BLOBS_LISTED_MAX,
    Room,
    advice_row,
    backup_row,
    collection_rows,
    lost_row,
    server_row,
    store_row,
    summary_row,
)
from treescale.maintenance.report.collection_report import (
    RowsReading,
    freeing_rows,
    read_rows,
    state_row,
)
from treescale.maintenance.report.columns import Row
from treescale.maintenance.report.purge_report import purge_rows
from treescale.maintenance.stopping import Stopping
from treescale.metadata.database import Database
from treescale.metadata.portable.last_backup import LastBackup, last_backup
from treescale.metadata.records import ClusterUsage, LostData

LISTS: Final = ("servers", "stores", "lost", "advice", "collection", "freeing", "purges")
"""What it has beside its summary."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was read, and the rows that say it."""

    seen: StatusReading
    usage: ClusterUsage
    lost: LostData
    uncounted: Uncounted
    taken: str
    """Who has the permission to stop."""
    states: Mapping[str, str]
    rows: RowsReading
    backup: LastBackup | None

    def summary(self) -> Row:
        """Return the cluster in one row."""
        of_all = summary_row(self.seen.status, self.usage, self.lost, self.uncounted, self.taken)
        return {**of_all, **state_row(self.rows), **backup_row(self.backup)}

    def lists(self, room: Room) -> dict[str, list[Row]]:
        """Return all else, by the names in `LISTS`; `room` says of a store's disk what is here."""
        status = self.seen.status
        return {
            "servers": [server_row(one) for one in status.servers],
            "stores": [store_row(one, self.uncounted, room) for one in status.stores],
            "lost": [lost_row(one) for one in self.lost.listed],
            "advice": [advice_row(one) for one in self.advice()],
            "collection": collection_rows(status, self.states),
            "freeing": freeing_rows(self.rows),
            "purges": purge_rows(self.rows.purges, status),
        }

    def advice(self) -> tuple[Advice, ...]:
        """Return what there is to do."""
        return advice(
            self.seen.status,
            clock_error=self.seen.clock_error,
            lost=self.lost,
            uncounted=self.uncounted,
            settings=self.rows.unreadable,
            read_only=self.rows.read_only,
        )


async def read_report(database: Database) -> Report:
    """Read it. That takes as long as there is much: it counts all rows of chunks."""
    clock = SystemClock()
    seen = await read_status(database, clock)
    taken = await Stopping(database, clock, asyncio.sleep).taken(seen.status)
    lost = await database.lost.overview(LOST_BLOBS_LISTED_MAX)
    usage = await database.repositories.cluster_usage()
    states = await database.collections.list()
    rows, backup = await read_rows(database), await last_backup(database)
    return Report(seen, usage, lost, await uncounted_of(database), taken, states, rows, backup)
