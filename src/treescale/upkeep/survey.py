"""Looking at the cluster: the rows as they are now, and the picture they make."""

from dataclasses import dataclass
from typing import Final

from treescale.chunks.placement import Table, build_table
from treescale.clock import Clock
from treescale.metadata.protocols import Database, Layouts
from treescale.upkeep.members import (
    COPIES_SETTING,
    clock_error,
    copies_asked,
    layout_of,
    searched,
)
from treescale.upkeep.overview import Overview, Rows, overview

layouts_read: Final = 64
"""The newest layouts, of which `members.searched` and `losses.weighed` choose."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen."""

    overview: Overview
    clock_error: float
    """How many seconds our clock is ahead of the database's, at least; below 0: behind."""


async def survey(database: Database, clock: Clock) -> Survey:
    """Return the cluster as its database knows it; raises SettingInvalid, DatabaseAway."""
    servers = tuple(await database.servers.list())
    stores = tuple(await database.stores.list())
    layout = await database.layouts.latest()
    owed = tuple(await database.owed.summary())
    asked = copies_asked(await database.settings.get(COPIES_SETTING))
    before = clock.now()
    now = await database.servers.now()
    error = clock_error(before, now, clock.now())
    return Survey(overview(Rows(servers, stores, layout, owed, asked, now)), error)


async def tables_of(layouts: Layouts, existing: frozenset[str]) -> list[Table]:
    """Return the table in force and those of older layouts that readers still ask, newest first.

    Empty before the first layout, and when no store of any is left.
    """
    found = [layout_of(record) for record in await layouts.list(layouts_read)]
    return [build_table(layout) for layout in searched(found, existing)]
