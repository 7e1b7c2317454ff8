"""`/cluster/now`: the cluster as it is, cheap enough to be asked every second."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from treescale.cluster.status import ServerView, StoreView
from treescale.console.route import Answered, Asked
from treescale.console.watch.gathering import ClusterGatherer, Picture
from treescale.console.watch.partitions import homes_of, runs, tally
from treescale.console.watch.picture import labels, work_left
from treescale.console.watch.rows import (
    ClusterNow,
    HappenedNow,
    JobNow,
    LostNow,
    PartitionsNow,
    ServerNow,
    StoreNow,
)
from treescale.maintenance.collection.state import State
from treescale.maintenance.report.columns import time
from treescale.metadata.records import JobState, StoreJob

_NO_COLLECTION = State()
_OPEN = (JobState.WAITING, JobState.RUNNING)


class WatchDesk:
    """What answers for the cluster as it is now."""

    def __init__(self, gatherer: ClusterGatherer) -> None:
        self._gatherer = gatherer
        self._told: tuple[Picture, ClusterNow] | None = None

    async def now(self, _: Asked) -> Answered:
        """Say it; the same object again while nothing of it is another."""
        picture = await self._gatherer.now()
        if self._told is None or self._told[0] is not picture:
            self._told = picture, _now(picture, self._gatherer.sights.server_id)
        return Answered(self._told[1])


def _now(picture: Picture, server_id: str) -> ClusterNow:
    seen, pause = picture.status, picture.pause
    called = labels(seen)
    homes = Counter[str]() if picture.table is None else homes_of(picture.table)
    return ClusterNow(
        seen_by=called.get(server_id, ""),
        is_whole=picture.verdict.is_whole,
        text=picture.verdict.text,
        broken_since=time(picture.broken or None),
        mended_at=time(picture.mended or None),
        may_stop=picture.may_stop,
        next_stop=picture.next_stop,
        read_only=picture.read_only,
        collection_paused="" if pause is None else pause.told,
        advice=[*picture.advice],
        servers=[_server(one) for one in seen.servers],
        stores=[_store(one, picture, called, homes[one.record.store_id]) for one in seen.stores],
        partitions=_partitions(picture),
        lost_chunks=picture.lost.chunks,
        lost=[*_lost(picture)],
        jobs=[*_jobs(picture.jobs)],
        events=[
            HappenedNow(one.sequence, _at(one.at), one.kind, one.actor, dict(one.payload))
            for one in picture.events
        ],
    )


def _server(server: ServerView) -> ServerNow:
    passing = server.throughput
    return ServerNow(
        server_id=server.server_id,
        name=server.name,
        address=server.address,
        zone=server.zone,
        state=server.condition.value,
        last_heard=time(server.heard),
        version=server.version,
        stores=server.stores,
        to_clients_bytes_per_second=None if passing is None else passing.to_clients,
        from_clients_bytes_per_second=None if passing is None else passing.from_clients,
        to_servers_bytes_per_second=None if passing is None else passing.to_servers,
        from_servers_bytes_per_second=None if passing is None else passing.from_servers,
    )


def _store(store: StoreView, picture: Picture, called: Mapping[str, str], homes: int) -> StoreNow:
    record, walk = store.record, store.walk
    state = picture.collections.get(record.store_id, _NO_COLLECTION)
    busy = walk is not None and bool(work_left(walk))
    return StoreNow(
        store=record.store_id,
        server=called.get(record.server_id or record.server, record.server),
        server_id=record.server_id,
        zone=record.zone,
        path=record.path,
        state=record.state.value,
        condition=store.condition.value,
        trouble=record.trouble,
        in_layout=store.in_layout,
        homes=homes,
        fill=store.fill,
        total_bytes=record.bytes_total,
        free_bytes=record.bytes_free,
        pace="" if walk is None else "repair" if busy else "verify",
        pending=0 if walk is None else walk.pending,
        missing=0 if walk is None else walk.missing,
        misplaced=0 if walk is None else walk.misplaced,
        moved_bytes_per_second=0 if walk is None else walk.rate,
        seconds_left=picture.seconds_left.get(record.store_id),
        verified=None if walk is None else time(walk.verified or None),
        waiting_bytes=state.waiting_bytes,
        trash_bytes=state.trash_bytes,
        trash_until=time(state.trash_until or None),
        removed_bytes=state.removed_bytes,
        paused="" if state.paused is None else state.paused.told,
    )


def _partitions(picture: Picture) -> PartitionsNow | None:
    if picture.table is None:
        return None
    return PartitionsNow(
        picture.table.copies,
        tally(picture.copies, picture.table.copies),
        [(run.value, run.length) for run in runs(picture.copies)],
    )


def _lost(picture: Picture) -> Iterator[LostNow]:
    for one in picture.lost.listed:
        tags, since = [*one.tags], _at(one.since)
        yield LostNow(one.repository, tags, one.digest, one.chunk_count, since)


def _jobs(parts: Iterable[StoreJob]) -> Iterator[JobNow]:
    """Yield the jobs, newest first, each of the parts that stores have in it."""
    jobs: dict[str, list[StoreJob]] = {}
    for part in parts:
        jobs.setdefault(part.job_id, []).append(part)
    for job, of_job in jobs.items():
        first, *_ = of_job
        yield JobNow(
            job,
            first.kind,
            first.actor,
            _at(first.created),
            is_open=any(part.state in _OPEN for part in of_job),
            stores=len(of_job),
            stores_done=sum(part.state not in _OPEN for part in of_job),
            done=sum(part.done for part in of_job),
            total=sum(part.total for part in of_job),
        )


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
