"""`/jobs`: work asked of all stores, and how far it is. Whoever asked may go away: servers go on.

Who asks again is told the same, as everything is in rows. A store of which nothing is heard for
long is not waited for, and that is said.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from treescale.clock import Clock
from treescale.cluster.queries import read_status
from treescale.console.route import Answered, Asked
from treescale.errors import FieldInvalid, NameUnknown, Refused
from treescale.lease_times import LEASE_SETTING, lease_of
from treescale.maintenance.collection.row_turns import RowTurns
from treescale.maintenance.following import given_up
from treescale.maintenance.planning.findings import Findings, Kind, unpacked
from treescale.maintenance.report.cluster_status import LOST_BLOBS_LISTED_MAX, lost_row
from treescale.maintenance.report.collection_report import read_due, taken_row
from treescale.maintenance.report.columns import exact_row
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of
from treescale.metadata.records import JobState

ROTTEN_LOOKED_UP_MAX: Final = 100
REPOSITORIES_MAX: Final = 20
_COLLECTS: Final = (Kind.COLLECT, Kind.COLLECT_RESUME, Kind.COLLECT_CHECK)
_OPEN: Final = (JobState.WAITING, JobState.RUNNING)


class NewJob(msgspec.Struct, forbid_unknown_fields=True):
    """What all stores are to do."""

    kind: str
    """`repair`, `verify`, `check`, `check-bytes`, `collect`, `collect-check`, `collect-resume`."""


class JobBegun(msgspec.Struct):
    """The job's id, and of a collection what came of the rows, which go first."""

    job: str
    rows: dict[str, Any] | None
    rows_due: list[dict[str, Any]]
    rows_paused: str | None


class JobPart(msgspec.Struct):
    """One store's part."""

    store: str
    where: str
    state: str
    done: int
    total: int
    """Partitions."""
    moved: int
    """Bytes that were moved or read back."""
    given_up: str | None
    """Why the store is not waited for any more."""
    findings: Findings


class JobReport(msgspec.Struct):
    """How far a job is, and once it has ended what is lost and who has what was rotten."""

    job: str
    kind: str
    ended: bool
    parts: list[JobPart]
    lost_chunks: int
    lost_blobs: list[dict[str, Any]]
    """The first of `lost_links`."""
    lost_links: int
    rotten: dict[str, list[str]]


class JobDesk:
    """What answers for work that is asked of stores."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, asked: Asked) -> Answered:
        """Ask all stores for it; of a collection rows go first, or it is said which would."""
        wanted: NewJob = asked.body
        try:
            kind = Kind(wanted.kind)
        except ValueError:
            raise FieldInvalid(
                f"kind: {wanted.kind!r} is no work: say {', '.join(Kind)}", "kind"
            ) from None
        stores = [store.store_id for store in await self._database.stores.list()]
        if not stores:
            raise Refused("the cluster knows no store: there is nobody to ask")
        begun = await self._rows(kind) if kind in _COLLECTS else JobBegun("", None, [], None)
        begun.job = secrets.token_hex(16)
        actor = actor_of(asked.principal.user)
        await self._database.jobs.begin(begun.job, kind.value, stores, actor=actor)
        return Answered(begun)

    async def show(self, asked: Asked) -> Answered:
        """Say how far it is."""
        job_id = asked.parameters["job"]
        found = await self._database.jobs.parts(job_id)
        if not found:
            raise NameUnknown(f"no job {job_id}: jobs are kept for a week")
        seen = (await read_status(self._database, self._clock)).status
        views = {store.record.store_id: store for store in seen.stores}
        now = await self._database.servers.now()
        parts = []
        for part in found:
            view = views.get(part.store_id)
            why = given_up(view, now - part.updated) if part.state in _OPEN else None
            where = part.store_id if view is None else view.label
            findings = unpacked(part.problems)
            if part.state is JobState.FAILED:
                why = "; ".join(findings.reasons) or "it could not be done"
            parts.append(
                JobPart(
                    part.store_id,
                    where,
                    part.state.value,
                    part.done,
                    part.total,
                    part.moved,
                    why,
                    findings,
                )
            )
        report = JobReport(
            job_id,
            found[0].kind,
            ended=False,
            parts=parts,
            lost_chunks=0,
            lost_blobs=[],
            lost_links=0,
            rotten={},
        )
        if all(one.given_up or one.state not in _OPEN for one in parts):
            await self._end(report)
        return Answered(report)

    async def _end(self, report: JobReport) -> None:
        lost = await self._database.lost.overview(LOST_BLOBS_LISTED_MAX)
        report.ended = True
        report.lost_chunks, report.lost_links = lost.chunks, lost.links
        report.lost_blobs = [exact_row(lost_row(one)) for one in lost.listed]
        chunks = [chunk for part in report.parts for chunk in part.findings.rotten_chunks]
        report.rotten = {
            chunk: list(
                await self._database.lost.repositories(bytes.fromhex(chunk), REPOSITORIES_MAX)
            )
            for chunk in chunks[:ROTTEN_LOOKED_UP_MAX]
        }

    async def _rows(self, kind: Kind) -> JobBegun:
        if kind is Kind.COLLECT_CHECK:
            due = await read_due(self._database)
            return JobBegun("", dict(due.taken), [exact_row(one) for one in due.due], due.pause)
        times = lease_of(await self._database.settings.get(LEASE_SETTING))
        turns = RowTurns(self._database, times, self._clock)
        done = await turns.collect(resume=kind is Kind.COLLECT_RESUME)
        rows: Mapping[str, Any] = taken_row(done)
        return JobBegun("", dict(rows), [], None if done.pause is None else done.pause.told)
