"""Having the stores do something, and what `repair`, `verify`, `fsck` and `collect` say of it."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import msgspec

from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import Asking, CommandContext
from treescale.cli.terminal.progress import WorkProgress
from treescale.clock import SystemClock
from treescale.console.work.jobs import JobPart, JobReport
from treescale.maintenance.following import POLL_SECONDS, Following, Outcome, Unasked
from treescale.maintenance.planning import findings
from treescale.maintenance.planning.findings import Findings, Verdict, packed, unpacked
from treescale.maintenance.report.cluster_status import LOST, LOST_BLOBS_LISTED_MAX, lost_row
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.metadata.database import Database
from treescale.metadata.records import JobState, StoreJob
from treescale.server.local_walk import Walked, walking_here

ROTTEN_LOOKED_UP_MAX: Final = 100
"""Rotten chunks of which it is looked up who has them."""
REPOSITORIES_MAX: Final = 20
INTERRUPTED: Final = 130
"""The exit status after Ctrl-C."""

TITLES: Final = {
    findings.Kind.REPAIR: "Repairing",
    findings.Kind.VERIFY: "Verifying",
    findings.Kind.CHECK: "Checking names",
    findings.Kind.CHECK_BYTES: "Checking bytes",
    findings.Kind.COLLECT: "Collecting",
    findings.Kind.COLLECT_RESUME: "Collecting",
    findings.Kind.COLLECT_CHECK: "Looking for what no row names",
}
MENDING: Final = (findings.Kind.REPAIR, findings.Kind.VERIFY)
_COUNTS: Final = {
    findings.Kind.CHECK: ("held", "missing", "surplus", "lost", "unfound", "unlooked"),
    findings.Kind.CHECK_BYTES: (
        "held",
        "read",
        "missing",
        "surplus",
        "rotten",
        "lost",
        "unfound",
        "unlooked",
    ),
    findings.Kind.REPAIR: ("fetched", "given", "trimmed", "missing", "surplus", "unlooked"),
    findings.Kind.VERIFY: (
        "read",
        "rotten",
        "fetched",
        "given",
        "trimmed",
        "missing",
        "surplus",
        "unlooked",
    ),
}
"""What people see of each; scripts see all."""
NOT_ASKED: Final = (Column("store", Kind.ID), Column("where"), Column("why"))
ROTTEN: Final = (Column("chunk"), Column("repositories", empty="none"))
_LISTS: Final = ("rotten_chunks", "lost_chunks", "unfound_chunks", "reasons", "going")


@dataclass(frozen=True, slots=True)
class LostRows:
    """What is lost: the number of chunks, that of blobs in repositories, and the first of these."""

    chunks: int
    links: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a job, and what the database knows of what is lost after it."""

    kind: findings.Kind
    outcome: Outcome
    here: Walked
    lost: LostRows
    rotten: Mapping[str, Sequence[str]]
    """The repositories of each rotten chunk."""

    @property
    def verdict(self) -> Verdict:
        """Return what is to be said of the whole; verifying has replaced what was rotten."""
        judge = findings.verdict
        if self.kind in MENDING:
            judge = findings.healed
        outcome = self.outcome
        return judge(outcome.findings, lost=self.lost.chunks, unasked=outcome.unasked)


def carry_out(desk: CommandContext, kind: findings.Kind) -> Ended:
    """Have all stores do it, and show how far they are; after Ctrl-C they go on, and this ends."""
    if desk.server is not None:
        return followed_there(desk, kind, desk.ask("POST", "/jobs", body={"kind": kind.value}))
    job_id = secrets.token_hex(16)
    clock = SystemClock()

    async def work(database: Database) -> Ended:
        settings, mends = desk.loaded.settings, kind in MENDING
        async with walking_here(settings, database, mends=mends, actor=cli_actor()) as here:
            with WorkProgress(TITLES[kind], clock, quiet=desk.out.as_json) as progress:
                for path in here.paths.values():
                    progress.say(f"No server has {path}: this command walks it.")
                for path, why in here.refused.items():
                    progress.say(f"No server has {path}, and this command cannot walk it: {why}.")
                following = Following(database, progress, clock=clock, here=here.paths)
                outcome = await following.run(job_id, kind, actor=cli_actor())
        lost = await database.lost.overview(LOST_BLOBS_LISTED_MAX)
        chunks = outcome.findings.rotten_chunks
        rotten = {
            chunk: await database.lost.repositories(bytes.fromhex(chunk), REPOSITORIES_MAX)
            for chunk in chunks[:ROTTEN_LOOKED_UP_MAX]
        }
        rotten |= {chunk: [] for chunk in chunks[ROTTEN_LOOKED_UP_MAX:]}
        rows = [lost_row(one) for one in lost.listed]
        return Ended(kind, outcome, here, LostRows(lost.chunks, lost.links, rows), rotten)

    try:
        return desk.run(work)
    except KeyboardInterrupt:
        desk.out.note(
            f"\nThe job {job_id} goes on without this command: servers carry it out. What this "
            "command walked itself goes on when a server starts there."
        )
        raise SystemExit(INTERRUPTED) from None


def followed_there(desk: CommandContext, kind: findings.Kind, begun: Mapping[str, Any]) -> Ended:
    """Show how far a job is that a server was asked for, and return what came of it."""
    job_id = begun["job"]

    async def work(api: Asking) -> Ended:
        with WorkProgress(TITLES[kind], SystemClock(), quiet=desk.out.as_json) as progress:
            while True:
                report = msgspec.convert(await api.ask("GET", f"/jobs/{job_id}"), JobReport)
                parts = [_part(report, one) for one in report.parts]
                progress.show(parts)
                if report.ended:
                    return _ended(kind, report, parts)
                await asyncio.sleep(POLL_SECONDS)

    try:
        return desk.asking(work)
    except KeyboardInterrupt:
        desk.out.note(f"\nThe job {job_id} goes on without this command: servers carry it out.")
        raise SystemExit(INTERRUPTED) from None


def _part(report: JobReport, one: JobPart) -> StoreJob:
    state, found = JobState(one.state), packed(one.findings)
    return StoreJob(
        report.job,
        one.store,
        report.kind,
        state,
        one.done,
        one.total,
        one.moved,
        found,
        actor="",
        created=0.0,
        updated=0.0,
    )


def _ended(kind: findings.Kind, report: JobReport, parts: Sequence[StoreJob]) -> Ended:
    done = tuple(part for part in parts if part.state is JobState.DONE)
    unasked = tuple(
        Unasked(one.store, one.where, one.given_up) for one in report.parts if one.given_up
    )
    labels = {one.store: one.where for one in report.parts}
    outcome = Outcome(report.job, done, labels, unasked)
    lost = LostRows(report.lost_chunks, report.lost_links, report.lost_blobs)
    return Ended(kind, outcome, Walked(), lost, report.rotten)


def tell(desk: CommandContext, ended: Ended, *, plan: bool = False) -> None:
    """Say what came of it: the sum, each store, what is wrong and where nobody was asked."""
    summary, lists = _summary(ended), _lists(ended)
    if desk.out.as_json:
        desk.out.one((), {**summary, **lists})
        return
    counts = ("missing", "surplus") if plan else _COUNTS[ended.kind]
    columns = tuple(_columns(counts, plan=plan))
    first = () if plan else (Column("verdict"),)
    desk.out.one((*first, *columns), summary)
    places = (Column("store", Kind.ID), Column("where"))
    desk.out.rows((*places, *columns), [*lists["stores"]], "store")
    for label, shown in (
        ("not_asked", NOT_ASKED),
        ("lost_blobs", LOST),
        ("rotten_copies", ROTTEN),
    ):
        rows = lists[label]
        if rows:
            desk.out.rows(shown, rows, label)
    for reason in ended.outcome.findings.reasons:
        desk.out.note(f"Why: {reason}")
    if ended.lost.links > len(lists["lost_blobs"]):
        desk.out.note(f"Of {ended.lost.links:,} lost blobs the first ones are shown.")


def leave(ended: Ended) -> None:
    """End the command with the status that says what was found."""
    click.get_current_context().exit(int(ended.verdict))


def _columns(counts: Sequence[str], *, plan: bool) -> list[Column]:
    """Return the columns of these counts, and of the bytes that go with them."""
    columns = [Column(name, Kind.COUNT) for name in counts]
    if plan:
        return [
            Column("to_fetch", Kind.COUNT),
            Column("to_fetch_bytes", Kind.BYTES),
            Column("to_trim", Kind.COUNT),
            Column("to_trim_bytes", Kind.BYTES),
        ]
    return [*columns, Column("moved_bytes", Kind.BYTES)]


def _summary(ended: Ended) -> dict[str, object]:
    moved = sum(part.moved for part in ended.outcome.parts)
    return {
        "job": ended.outcome.job_id,
        "kind": ended.kind.value,
        "verdict": ended.verdict.word,
        "exit_status": int(ended.verdict),
        **_counted(ended.outcome.findings, moved),
        "lost": max(ended.lost.chunks, ended.outcome.findings.lost),
    }


def _lists(ended: Ended) -> dict[str, list[Row]]:
    labels = ended.outcome.labels
    return {
        "stores": [_store(part, labels) for part in ended.outcome.parts],
        "not_asked": [
            {"store": each.store_id, "where": each.label, "why": each.why}
            for each in ended.outcome.unasked
        ],
        "lost_blobs": [*ended.lost.rows],
        "rotten_copies": [
            {"chunk": chunk, "repositories": list(names) or None}
            for chunk, names in ended.rotten.items()
        ],
        "walked_here": [
            {"store": store_id, "path": path} for store_id, path in ended.here.paths.items()
        ],
    }


def _store(part: StoreJob, labels: Mapping[str, str]) -> Row:
    return {
        "store": part.store_id,
        "where": labels.get(part.store_id, part.store_id),
        **_counted(unpacked(part.problems), part.moved),
    }


def _counted(found: Findings, moved: int) -> dict[str, object]:
    """Return the counts, with the names of the plan beside those of the look."""
    row = {
        name: value for name, value in msgspec.structs.asdict(found).items() if name not in _LISTS
    }
    return {
        **row,
        "to_fetch": found.missing,
        "to_fetch_bytes": found.missing_bytes,
        "to_trim": found.surplus,
        "to_trim_bytes": found.surplus_bytes,
        "moved_bytes": moved,
        "reasons": found.reasons,
    }
