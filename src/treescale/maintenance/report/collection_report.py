"""What the rows say of collection: what waits and when it is free, what would go, what went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from treescale.clock import SystemClock
from treescale.cluster.queries import unreadable_settings
from treescale.lease_times import (
    LEASE_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
    LeaseTimes,
    Unreadable,
    lease_of,
    undelete_of,
    untagged_of,
)
from treescale.log import log_errors_only
from treescale.maintenance.collection.row_turns import RowCycle, RowTurns
from treescale.maintenance.collection.state import Pause
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.collection.open_purges import OpenPurge, OpenPurges
from treescale.metadata.collection.waiting import Due, Waiting, WaitingRows, What
from treescale.metadata.database import Database

FREEING: Final = (
    Column("what"),
    Column("images", Kind.COUNT),
    Column("layers", Kind.COUNT),
    Column("bytes", Kind.BYTES),
    Column("since", Kind.TIME, empty="-"),
    Column("goes_from", Kind.TIME, empty="-"),
    Column("free_at_the_latest", Kind.TIME, empty="-"),
    Column("note"),
)
"""What no image that stays needs, and what has it go."""
DUE: Final = (Column("size", Kind.BYTES), Column("what"), Column("name"), Column("why"))
DUE_LISTED_MAX: Final = 200
"""Of each kind, for scripts; people see fewer."""
TAKEN: Final = (
    Column("untagged", Kind.COUNT),
    Column("manifests", Kind.COUNT),
    Column("links", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("repositories", Kind.COUNT),
    Column("tags", Kind.COUNT),
)
"""The rows that a cycle has taken; `untagged` were deleted, and can be restored."""
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class RowsReading:
    """What the rows say at one moment."""

    now: float
    times: LeaseTimes
    undelete: float
    untagged: float | None
    """After how long what nothing holds goes, None for never."""
    pause: Pause | None
    read_only: bool
    """Whether the whole cluster is."""
    waiting: Sequence[Waiting] = ()
    due: Sequence[Due] = ()
    unreadable: Sequence[Unreadable] = ()
    """Settings that somebody wrote by hand, and that nobody can read."""
    purges: Sequence[OpenPurge] = ()


@dataclass(frozen=True, slots=True)
class RowsTold:
    """What came of the rows, or would."""

    pause: str | None
    """Why none are taken away, and what has it go on."""
    taken: Row
    """How many rows went."""
    due: Sequence[Row] = ()
    """What would go, biggest first."""


def _told(pause: Pause | None) -> str | None:
    return None if pause is None else pause.told


async def collect_rows(database: Database, *, resume: bool = False) -> RowsTold:
    """Have a turn of the collection of rows; with `resume` also after a leap of the clock."""
    log_errors_only()
    done = await (await _turns(database)).collect(resume=resume)
    return RowsTold(_told(done.pause), taken_row(done))


async def read_due(database: Database) -> RowsTold:
    """Return what a cycle would take away, and take nothing."""
    seen = await read_rows(database, due=True)
    return RowsTold(_told(seen.pause), taken_row(RowCycle()), due_rows(seen))


async def _turns(database: Database) -> RowTurns:
    times = lease_of(await database.settings.get(LEASE_SETTING))
    return RowTurns(database, times, SystemClock())


async def read_rows(database: Database, *, due: bool = False) -> RowsReading:
    """Return what waits, or what is due. Reads as much as there is."""
    settings, rows = database.settings, WaitingRows(database.connections)
    times = lease_of(await settings.get(LEASE_SETTING))
    untagged = untagged_of(await settings.get(UNTAGGED_SETTING))
    waiting = [] if due else await rows.summary(times, keeps_untagged=untagged is None)
    return RowsReading(
        now=await database.servers.now(),
        times=times,
        undelete=undelete_of(await settings.get(UNDELETE_SETTING)),
        untagged=untagged,
        pause=await (await _turns(database)).pause(),
        read_only=await database.read_only.cluster(),
        waiting=waiting,
        due=await rows.due(DUE_LISTED_MAX) if due else [],
        unreadable=await unreadable_settings(database),
        purges=await OpenPurges(database.connections).list(),
    )


def state_row(seen: RowsReading) -> Row:
    """Return whether rows are collected, what has them be, and whether all is read-only."""
    pause = seen.pause
    return {
        "collecting": "yes" if pause is None else f"no: {pause.why}",
        "collecting_lifted_by": None if pause is None else pause.lifted_by,
        "read_only": seen.read_only,
    }


def freeing_rows(seen: RowsReading) -> list[Row]:
    """Return what waits. While nothing goes, nobody knows when it is free."""
    return [_freeing(seen, each) for each in seen.waiting]


def _freeing(seen: RowsReading, one: Waiting) -> Row:
    times = seen.times
    stops = seen.pause is not None
    after = times.lease + times.look_every + times.trash
    last = None if one.last is None or stops else max(one.last, seen.now) + after
    return {
        "what": one.what.value,
        "images": one.images,
        "layers": one.layers,
        "bytes": one.size,
        "since": time(one.since),
        "goes_from": None if stops else time(one.first),
        "free_at_the_latest": time(last),
        "note": _note(seen, one.what),
    }


def _note(seen: RowsReading, what: What) -> str:
    if what is What.UNTAGGED:
        if seen.untagged is None:
            return (
                "no tag, index or subject: kept; `treescale cluster set untagged=30d` lets them go"
            )
        return (
            f"nothing holds them; go {_time(seen.untagged)} after that was seen, or after "
            "the last pull; `treescale cluster set untagged=keep` keeps them"
        )
    return {
        What.DELETED: "`treescale repo deleted` lists them, `treescale repo restore` brings back",
        What.UNUSED: "layers that no image refers to: of pushes under way, or that broke off",
        What.GOING: "in no repository any more",
        What.UPLOADS: f"sessions; end {_time(seen.times.session_idle)} after the last byte",
    }.get(what, "")


def due_rows(seen: RowsReading) -> list[Row]:
    """Return what the next cycle takes away of the rows, biggest first, and why."""
    return [
        {"size": each.size, "what": each.what.value, "name": each.name, "why": _why(seen, each)}
        for each in seen.due
    ]


def _why(seen: RowsReading, one: Due) -> str:
    ago = _time(seen.now - one.since)
    if one.what is What.DELETED:
        return f"deleted {ago} ago, and restorable for {_time(seen.undelete)}"
    if one.what is What.UNTAGGED:
        return (
            f"nothing has held it for {ago}, and nobody pulled it; it can be restored for "
            f"{_time(seen.undelete)} more"
        )
    if one.what is What.UNUSED:
        return f"no image refers to it, and its lease ended {ago} ago"
    return "no repository has it"


def taken_row(done: RowCycle) -> Row:
    """Return how many rows went, of each kind."""
    return {"untagged": done.untagged, **asdict(done.collected)}


def _time(seconds: float) -> str:
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.0f} days"
    return f"{seconds / _HOUR:.0f} h" if seconds >= _HOUR else f"{seconds:.0f} s"
