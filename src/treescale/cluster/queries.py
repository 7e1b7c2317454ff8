"""Looking at the cluster: its rows as they are now, the picture they make, and missing copies."""

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from treescale.chunks.format.placement import Table, build_table
from treescale.clock import Clock
from treescale.cluster.data_loss import LAYOUTS_IN_USE_MAX, MissingCopies, Placing, layouts_in_use
from treescale.cluster.layout import (
    COPIES_SETTING,
    copies_asked,
    copies_to_keep,
    layout_of,
    readable_layouts,
)
from treescale.cluster.liveness import clock_error
from treescale.cluster.placement_report import (
    NOTHING_UNCOUNTED,
    Uncounted,
    all_uncounted,
    uncounted,
)
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import ClusterStatus, status_of
from treescale.errors import SettingInvalid
from treescale.lease_times import SAID_OF, Unreadable, unreadable
from treescale.metadata.database import Database
from treescale.metadata.layouts import Layouts
from treescale.metadata.missing_copies import UnderReplicated

STORES_TABLED_MAX: Final = 200
"""Stores of all layouts that are compared: each takes some 20 ms."""
PAGE_SIZE: Final = 1000
MISSING_READ_MAX: Final = 200_000
STRUCK_AT_ONCE: Final = 10_000
LAYOUTS_READ: Final = 64
"""The newest layouts, of which `layout.readable_layouts` and `data_loss.layouts_in_use` choose."""


@dataclass(frozen=True, slots=True)
class StatusReading:
    """What was seen."""

    status: ClusterStatus
    clock_error: float
    """How many seconds our clock is ahead of the database's, at least; below 0: behind."""


async def read_status(database: Database, clock: Clock) -> StatusReading:
    """Return the cluster as its database knows it; raises DatabaseUnavailable."""
    seen = await read_holders(database)
    layout = await database.layouts.latest()
    owed = tuple(await database.under_replicated.summary())
    walks = tuple(await database.walks.list())
    asked = copies_to_keep(await database.settings.get(COPIES_SETTING), layout)
    before = clock.now()
    now = await database.servers.now()
    error = clock_error(before, now, clock.now())
    rows = replace(seen, now=now, layout=layout, missing=owed, copies_asked=asked, walks=walks)
    return StatusReading(status_of(rows), error)


async def unreadable_settings(database: Database) -> list[Unreadable]:
    """Return the settings of the cluster that cannot be read: somebody wrote them by hand."""
    settings = await database.settings.several([*SAID_OF, COPIES_SETTING])
    found = unreadable(settings)
    try:
        copies_asked(settings.get(COPIES_SETTING))
    except SettingInvalid as error:
        latest = await database.layouts.latest()
        kept = 1 if latest is None else latest.copies
        why = f"the setting {COPIES_SETTING} cannot be read: {error}; {kept} stay in force"
        mended_by = f"`treescale cluster set {COPIES_SETTING}={kept}`"
        found.append(Unreadable(COPIES_SETTING, why, mended_by))
    return found


async def read_holders(database: Database) -> Snapshot:
    """Return the servers and whose the stores are, without what else a snapshot has.

    The stores first: a server has a row before it has a store, so the holder of a store that was
    read is among the servers that are read after it. The other way round, one that joins in
    between looks like a server that is gone, and its disk like one to take.
    """
    stores = tuple(await database.stores.list())
    servers = tuple(await database.servers.list())
    return Snapshot(servers, stores, await database.servers.now())


async def uncounted_of(database: Database) -> Uncounted:
    """Return at which homes copies may be missing that are owed to nobody.

    Bounded work: of very many layouts, or stores, it says that nothing is known.
    """
    layouts = await database.layouts.list(LAYOUTS_READ)
    if not layouts:
        return NOTHING_UNCOUNTED
    existing = frozenset(store.store_id for store in await database.stores.list())
    present, *_ = layouts
    used = [
        each
        for each in layouts_in_use(layouts, existing, await placing_of(database))
        if (each.stores, each.copies) != (present.stores, present.copies)
    ]
    if not used:
        return NOTHING_UNCOUNTED
    stores = sum(len(each.stores) for each in (present, *used))
    if stores > STORES_TABLED_MAX or len(used) >= LAYOUTS_IN_USE_MAX:
        return all_uncounted([store.store_id for store in present.stores])
    now, *before = (build_table(layout_of(each)) for each in (present, *used))
    return uncounted(now, before)


async def placing_of(database: Database) -> Placing:
    """Return what is known of when, and by which layouts, chunks were placed."""
    oldest = await database.layouts.oldest_used()
    return Placing(oldest, await database.repositories.first_created())


async def tables_of(layouts: Layouts, existing: frozenset[str]) -> list[Table]:
    """Return the table in force and those of older layouts that readers still ask, newest first.

    Empty before the first layout, and when no store of any is left.
    """
    found = [layout_of(record) for record in await layouts.list(LAYOUTS_READ)]
    return [build_table(layout) for layout in readable_layouts(found, existing)]


async def missing_among(
    owed: UnderReplicated, store_id: str, chunks: Collection[bytes]
) -> set[bytes]:
    """Return which of these chunks are owed to the store.

    Reads only those stretches of what is owed to it that hold some of them, so the work is bounded
    by the fewer of the two.
    """
    wanted, found, index = sorted(chunks), set[bytes](), 0
    known = frozenset(wanted)
    while index < len(wanted):
        page = await owed.list(store_id, _just_before(wanted[index]), PAGE_SIZE)
        found |= known.intersection(page)
        if len(page) < PAGE_SIZE:
            break
        index = bisect_right(wanted, page[-1])
    return found


async def missing_at(owed: UnderReplicated, stores: Iterable[str]) -> MissingCopies:
    """Return what is owed to these stores, `MISSING_READ_MAX` copies at most."""
    found: dict[bytes, set[str]] = {}
    left = MISSING_READ_MAX
    for store_id in stores:
        after = b""
        while page := await owed.list(store_id, after, PAGE_SIZE):
            if left < len(page):
                return MissingCopies(found, complete=False)
            left -= len(page)
            for chunk in page:
                found.setdefault(chunk, set()).add(store_id)
            after = page[-1]
    return MissingCopies(found, complete=True)


async def strike(owed: UnderReplicated, store_id: str) -> int:
    """Forget all that is owed to a store that is no more; return how many copies that were."""
    total = 0
    while struck := await owed.forget(store_id, STRUCK_AT_ONCE):
        total += struck
    return total


def _just_before(chunk: bytes) -> bytes:
    """Return the id before this one, so that a page that begins after it begins with this one."""
    number = int.from_bytes(chunk, "big")
    return (number - 1).to_bytes(len(chunk), "big") if number else b""
