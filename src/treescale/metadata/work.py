"""Background work: who does it (leases), where it stands (walks, collections), what was asked for.

Of a lease one statement takes or renews, so of several that ask at once one gets it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Double,
    Row,
    Text,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.clock import Clock, SystemClock
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import Upsert, insert_or_update, insert_or_update_if
from treescale.metadata.records import JobState, LeaseRecord, StoreJob, StoreWalk
from treescale.metadata.schema import jobs, leases, settings, walks

LIST: Final = select(leases).order_by(leases.c.name)
RELEASE: Final = ahead(
    update(leases)
    .where(leases.c.name == bindparam("this"), leases.c.holder == bindparam("who"))
    .values(until=0.0),
    "this who",
)


def _hold() -> Upsert:
    """Return the statement that takes or renews a lease, and answers with its fence."""
    ends = DatabaseNow() + bindparam("seconds", type_=Double())
    ours = leases.c.holder == bindparam("who", type_=Text())
    over = leases.c.until <= DatabaseNow()
    first = {
        "name": bindparam("this", type_=Text()),
        "holder": bindparam("who", type_=Text()),
        "until": ends,
        "fence": literal(1, BigInteger()),
    }
    later = {
        "holder": bindparam("who", type_=Text()),
        "until": ends,
        "fence": leases.c.fence + case((over, 1), else_=0),
    }
    keys, condition = [leases.c.name], or_(ours, over)
    return Upsert(
        lambda insert: (
            insert(leases)
            .values(first)
            .on_conflict_do_update(index_elements=keys, set_=later, where=condition)
            .returning(leases.c.fence)
        )
    )


_HOLD: Final = ahead(_hold(), "seconds this who")
_STANDS: Final = select(
    leases.c.holder, leases.c.until, (leases.c.until - DatabaseNow()).label("left")
).where(leases.c.name == bindparam("this"))
_END: Final = (
    update(leases)
    .where(
        leases.c.name == bindparam("this"),
        leases.c.holder == bindparam("who"),
        leases.c.until == bindparam("as_it_was"),
    )
    .values(until=0.0)
)
UNRENEWED: Final = 2
"""So many times its length a lease has to stand still, and to have left, until it is nobody's."""
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class _Stood:
    """A lease of somebody else as it was looked at."""

    until: float
    looked: float
    """In monotonic seconds of this process."""


_WALK_COLUMNS: Final = tuple(column for column in walks.c if column.name != "partitions")
LIST_WALKS: Final = select(*_WALK_COLUMNS).order_by(walks.c.store_id)
GET_WALK: Final = ahead(select(walks).where(walks.c.store_id == bindparam("this")), "this")
_NUMBERS: Final = (
    "layout",
    "pending",
    "missing",
    "misplaced",
    "rate",
    "looked",
    "verified",
    "partitions",
)
_PUT_WALK: Final = ahead(
    insert_or_update_if(
        walks, _NUMBERS, {"updated": DatabaseNow()}, lambda new: walks.c.layout <= new.layout
    ),
    "layout looked misplaced missing partitions pending rate store_id verified",
)
REMOVE_WALK: Final = delete(walks).where(walks.c.store_id == bindparam("this"))

_COLLECTION: Final = "collection/"
"""Under this and a store's id the settings have where its collection stands."""
_PUT_COLLECTION: Final = insert_or_update(settings, ["value"])
LIST_COLLECTIONS: Final = select(settings).where(
    settings.c.name > _COLLECTION, settings.c.name < _COLLECTION[:-1] + chr(ord("/") + 1)
)

_OPEN: Final = (JobState.WAITING.value, JobState.RUNNING.value)
_BEGIN: Final = insert(jobs)
OPEN_OF: Final = ahead(
    select(jobs)
    .where(jobs.c.state.in_(_OPEN), jobs.c.store_id == bindparam("store"))
    .order_by(jobs.c.created, jobs.c.job_id),
    "store",
)
PARTS_OF: Final = select(jobs).where(jobs.c.job_id == bindparam("this")).order_by(jobs.c.store_id)
RECENT: Final = (
    select(jobs)
    .order_by(jobs.c.created.desc(), jobs.c.job_id, jobs.c.store_id)
    .limit(bindparam("limit"))
)
REPORT: Final = ahead(
    update(jobs)
    .where(jobs.c.job_id == bindparam("this"), jobs.c.store_id == bindparam("store"))
    .values(
        state=bindparam("new_state"),
        done=bindparam("new_done"),
        total=bindparam("new_total"),
        moved=bindparam("new_moved"),
        problems=bindparam("new_problems"),
        updated=DatabaseNow(),
    ),
    "new_done new_moved new_problems new_state new_total store this",
)
PRUNE: Final = delete(jobs).where(jobs.c.created < DatabaseNow() - bindparam("seconds"))


class Leases:
    """Background work of which one process of all servers does each, until its lease ends.

    All times are the database's. Whoever holds a lease compares nothing with them: it counts from
    before it asked, by a clock of its own. When the database's clock is set back, and the holder
    dies, its lease would last until that time comes again. So one that seems to last longer than
    any does, and that nobody has renewed meanwhile, by the clock of who asks for it, is over.
    """

    def __init__(self, connections: Connections, clock: Clock = _CLOCK) -> None:
        self._connections = connections
        self._clock = clock
        self._stood: dict[str, _Stood] = {}

    async def hold(self, name: str, holder: str, seconds: float) -> int | None:
        """Take it for so long from now, or renew it; None, and nothing changes, when it is taken.

        Returns its fence: the same as long as one holder renews in time, a higher one for each new
        holder, and for one that was late. `holder` is a text that no other process has.
        """
        row = {"this": name, "who": holder, "seconds": seconds}

        def work(connection: Connection) -> int | None:
            fence = connection.execute(_HOLD.on(connection), row).scalar_one_or_none()
            return None if fence is None else int(fence)

        fence = await self._connections.write(work)
        if fence is None and await self._end_unrenewed(name, UNRENEWED * seconds):
            fence = await self._connections.write(work)
        if fence is not None:
            self._stood.pop(name, None)
        return fence

    async def _end_unrenewed(self, name: str, seconds: float) -> bool:
        """End a lease that has so long left and has stood still as long; say whether it was one."""
        now, before = self._clock.monotonic(), self._stood.get(name)
        if before is not None and now - before.looked < seconds:
            return False
        row = await self._connections.row(_STANDS, {"this": name})
        if row is None or row.left <= seconds:
            self._stood.pop(name, None)
            return False
        if before is None or before.until != row.until:
            self._stood[name] = _Stood(row.until, now)
            return False
        was = {"this": name, "who": row.holder, "as_it_was": row.until}
        return await self._connections.change(_END, was) == 1

    async def release(self, name: str, holder: str) -> None:
        """End it, so that another may take it at once; unless another has it. Twice is once."""
        await self._connections.change(RELEASE, {"this": name, "who": holder})

    async def list(self) -> list[LeaseRecord]:
        """Return all that were ever taken, by name. For administration."""
        rows = await self._connections.rows(LIST)
        return [LeaseRecord(row.name, row.holder, row.until, row.fence) for row in rows]


class Walks:
    """Where the walks stand: one row a store, written by its server alone."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def put(self, walk: StoreWalk) -> None:
        """Note where it stands; of an older layout than the one noted nothing is."""
        row = {
            "store_id": walk.store_id,
            "layout": walk.layout,
            "pending": walk.pending,
            "missing": walk.missing,
            "misplaced": walk.misplaced,
            "rate": walk.rate,
            "looked": walk.looked,
            "verified": walk.verified,
            "partitions": walk.partitions,
        }

        def work(connection: Connection) -> None:
            connection.execute(_PUT_WALK.on(connection), row)

        await self._connections.write(work, durable=False)

    async def get(self, store_id: str) -> StoreWalk | None:
        """Return where a store's walk stands, partition by partition; None before it began."""
        row = await self._connections.row(GET_WALK, {"this": store_id})
        return None if row is None else _walk(row, bytes(row.partitions))

    async def list(self) -> list[StoreWalk]:
        """Return all, without what is known of each partition. For administration."""
        return [_walk(row) for row in await self._connections.rows(LIST_WALKS)]

    async def remove(self, store_id: str) -> None:
        """Forget the walk of a store that is no more; twice is once."""
        await self._connections.change(REMOVE_WALK, {"this": store_id})


class Collections:
    """Where the collection of each store stands: a text that its server alone writes.

    Beside the settings, so that no server of an earlier version has to know of it.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def put(self, store_id: str, state: str) -> None:
        """Note where it stands; may be lost in a power cut, and is then noted again."""
        row = {"name": _COLLECTION + store_id, "value": state}

        def work(connection: Connection) -> None:
            connection.execute(_PUT_COLLECTION.on(connection), row)

        await self._connections.write(work, durable=False)

    async def list(self) -> Mapping[str, str]:
        """Return what was noted, by store."""
        rows = await self._connections.rows(LIST_COLLECTIONS)
        return {row.name.removeprefix(_COLLECTION): row.value for row in rows}


class Jobs:
    """Work that was asked of stores: a row for each, which its server follows and reports in."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def begin(self, job_id: str, kind: str, stores: Iterable[str], *, actor: str) -> None:
        """Ask for work of each of these stores."""
        rows = [
            {
                "job_id": job_id,
                "store_id": store_id,
                "kind": kind,
                "state": JobState.WAITING.value,
                "done": 0,
                "total": 0,
                "moved": 0,
                "problems": "",
                "actor": actor,
            }
            for store_id in stores
        ]
        statement = _BEGIN.values(created=DatabaseNow(), updated=DatabaseNow())

        def work(connection: Connection) -> None:
            for row in rows:
                connection.execute(statement, row)

        await self._connections.write(work)

    async def open_of(self, store_id: str) -> list[StoreJob]:
        """Return what a store has still to do, oldest first."""
        return [_job(row) for row in await self._connections.rows(OPEN_OF, {"store": store_id})]

    async def parts(self, job_id: str) -> list[StoreJob]:
        """Return the parts of a job, by store."""
        return [_job(row) for row in await self._connections.rows(PARTS_OF, {"this": job_id})]

    async def recent(self, limit: int) -> list[StoreJob]:
        """Return the parts of the newest jobs, `limit` parts at most, by job and store."""
        return [_job(row) for row in await self._connections.rows(RECENT, {"limit": limit})]

    async def report(self, part: StoreJob) -> None:
        """Note how far a store is with its part; one that was pruned is not made again."""
        row = {
            "this": part.job_id,
            "store": part.store_id,
            "new_state": part.state.value,
            "new_done": part.done,
            "new_total": part.total,
            "new_moved": part.moved,
            "new_problems": part.problems,
        }
        await self._connections.change(REPORT, row, durable=False)

    async def prune(self, seconds: float) -> None:
        """Forget what was asked for so long ago, done or not."""
        await self._connections.change(PRUNE, {"seconds": seconds})


def _walk(row: Row[Any], partitions: bytes = b"") -> StoreWalk:
    return StoreWalk(
        row.store_id,
        row.layout,
        pending=row.pending,
        missing=row.missing,
        misplaced=row.misplaced,
        rate=row.rate,
        looked=row.looked,
        verified=row.verified,
        partitions=partitions,
        updated=row.updated,
    )


def _job(row: Row[Any]) -> StoreJob:
    return StoreJob(
        job_id=row.job_id,
        store_id=row.store_id,
        kind=row.kind,
        state=JobState(row.state),
        done=row.done,
        total=row.total,
        moved=row.moved,
        problems=row.problems,
        actor=row.actor,
        created=row.created,
        updated=row.updated,
    )
