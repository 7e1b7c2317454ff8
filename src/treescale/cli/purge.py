"""`treescale collect --purge`: what was deleted is gone at once, from the rows and every store."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from treescale.cli.reference import Reference, parse_reference
from treescale.cli.reports.job_report import INTERRUPTED, NOT_ASKED
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import CommandContext
from treescale.cli.terminal.output import Column, Kind, Row, size
from treescale.cli.terminal.progress import JobProgress
from treescale.clock import Clock, SystemClock
from treescale.cluster.queries import read_status
from treescale.cluster.status import ClusterStatus, Condition, StoreView
from treescale.errors import DatabaseTrouble, DatabaseUnavailable, PreconditionFailed
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, VERSIONS_BEFORE, parse_lease
from treescale.maintenance.collection.state import Mode, mode_of
from treescale.metadata.collection.purge_plan import PurgePlan, PurgeReader
from treescale.metadata.collection.purging import ROUNDS, InUse, Purging
from treescale.metadata.database import Database
from treescale.metadata.records import JobState, StoreJob
from treescale.server.local_walk import walking_here

POLL_SECONDS: Final = 0.25
STATUS_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 5.0
"""So long a store is waited for that is away, and whose server has not said that it ends."""
STUCK_SECONDS: Final = 180.0
"""So long stores are waited for whose servers live, and do nothing."""
TRIES_MAX: Final = 20
TRY_SECONDS: Final = 0.5
LEFT: Final = 1
"""The exit status when a store has not confirmed yet."""
_ALIVE: Final = (Condition.UP, Condition.FULL)
_DONE: Final = (
    Column("images", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("chunks", Kind.COUNT),
    Column("bytes", Kind.BYTES),
    Column("shared", Kind.COUNT),
    Column("complete", Kind.FLAG),
)


@dataclass(frozen=True, slots=True)
class _Away:
    """A store that has not confirmed, and why it is not waited for."""

    store_id: str
    label: str
    why: str


@dataclass(frozen=True, slots=True)
class _Ended:
    """What came of it."""

    stands: Mapping[str, int]
    labels: Mapping[str, str]
    away: Sequence[_Away]


def purge(desk: CommandContext, text: str, *, yes: bool) -> None:
    """Purge what was deleted at `text`, after a question, and follow the stores until it is gone.

    Ends with the status 1 when stores are away.
    """
    wanted, clock = parse_reference(text), SystemClock()

    async def look(database: Database) -> tuple[PurgePlan, ClusterStatus]:
        status = (await read_status(database, clock)).status
        await _check_allowed(database)
        reader = PurgeReader(database.connections)
        return await reader.plan(wanted.name, wanted.tag, wanted.digest), status

    plan, status = desk.run(look)
    _ask(wanted, plan, status, yes=yes)
    purge_id = secrets.token_hex(16)

    async def work(database: Database) -> _Ended:
        async with walking_here(desk.loaded.settings, database, mends=False) as here:
            with JobProgress("Purging", clock, quiet=desk.out.as_json) as progress:
                for path, why in here.refused.items():
                    progress.say(f"No server has {path}, and this command cannot use it: {why}.")
                await _take(database, purge_id, wanted, plan)
                following = _Following(database, purge_id, progress, clock, here.paths)
                return await following.run()

    try:
        ended = desk.run(work)
    except KeyboardInterrupt:
        desk.out.note(
            "\nThe servers go on with what was taken away so far. Say it again to end it."
        )
        raise SystemExit(INTERRUPTED) from None
    _tell(desk, wanted, plan, ended)
    click.get_current_context().exit(LEFT if ended.away else 0)


async def _check_allowed(database: Database) -> None:
    """Raise PreconditionFailed while a server may name chunks that knows nothing of the fence."""
    settings, servers = database.settings, database.servers
    if mode_of(await settings.get(COLLECTION_SETTING)) is Mode.FROZEN:
        raise PreconditionFailed(
            "the database was restored and collection is frozen: see that it is the right one, and "
            "lift that with `treescale collect --after-restore` first"
        )
    lease = parse_lease(await settings.get(LEASE_SETTING), unsafe=True).lease
    since = await servers.now() - lease
    older = [
        each.name
        for each in await servers.list()
        if each.version in VERSIONS_BEFORE and each.seen > since
    ]
    if older:
        raise PreconditionFailed(
            f"{', '.join(older)} ran version 0.1.0 less than {lease / 3600:.0f} h ago, whose "
            "pushes could name what is purged: stop it (or upgrade it), and purge then"
        )


def _ask(wanted: Reference, plan: PurgePlan, status: ClusterStatus, *, yes: bool) -> None:
    """Ask, and say how much; raises UsageError when nobody is there to answer."""
    away = [f"{store.label} ({_silence(store)})" for store in status.stores if _silence(store)]
    much = (
        f"{len(plan.manifests):,} images, {plan.blobs:,} blobs, {plan.chunks:,} chunks, "
        f"{size(plan.size)}"
    )
    if yes:
        return
    if not os.isatty(0):
        raise click.UsageError(
            f"{wanted}: {much} would be gone for good; there is no terminal to ask on: say --yes"
        )
    if away:
        click.echo(
            f"Away now: {', '.join(away)}. This command unlinks it on stores of this machine, "
            "others do so before they serve again; until then nobody can push the same chunks.",
            err=True,
        )
    for one in plan.live:
        click.echo(f"It had {one}, which is not deleted: that stays with all it needs.", err=True)
    click.confirm(
        f"Purge what was deleted at {wanted}: {much}, from {len(status.stores)} stores? "
        "Nothing brings it back.",
        abort=True,
    )


async def _take(database: Database, purge_id: str, wanted: Reference, plan: PurgePlan) -> None:
    """Take the rows away; whoever uses some at this moment is waited for."""
    purging, actor = Purging(database.connections), cli_actor()
    await purging.begin(purge_id, str(wanted), actor=actor)
    await _patiently(lambda: purging.take(purge_id, plan, actor=actor))
    await _patiently(lambda: purging.finish(purge_id))


async def _patiently(act: Callable[[], Awaitable[None]]) -> None:
    for _ in range(TRIES_MAX - 1):
        try:
            return await act()
        except InUse:
            pass
        except DatabaseUnavailable as error:
            if error.trouble is not DatabaseTrouble.BUSY:
                raise
        await asyncio.sleep(TRY_SECONDS)
    return await act()


class _Following:
    """Follows the stores until all have confirmed, or those that have not are away."""

    def __init__(
        self,
        database: Database,
        purge_id: str,
        progress: JobProgress,
        clock: Clock,
        here: Mapping[str, str],
    ) -> None:
        self._database = database
        self._purging = Purging(database.connections)
        self._purge_id = purge_id
        self._progress = progress
        self._clock = clock
        self._here = here
        self._views: Mapping[str, StoreView] = {}
        self._looked_at = float("-inf")
        self._changed_at = clock.monotonic()

    async def run(self) -> _Ended:
        """Return once nobody is to be waited for."""
        known: Mapping[str, int] = {}
        while True:
            await self._purging.end()
            stands, now = await self._purging.stands(self._purge_id), self._clock.monotonic()
            if stands != known:
                known, self._changed_at = stands, now
            await self._look(now)
            self._progress.show([_part(self._purge_id, *each) for each in stands.items()])
            away = self._away(stands, now)
            if away or all(rounds >= ROUNDS for rounds in stands.values()):
                labels = {name: view.label for name, view in self._views.items()}
                return _Ended(stands, labels, away)
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self, now: float) -> None:
        if now - self._looked_at >= STATUS_SECONDS:
            self._looked_at = now
            status = (await read_status(self._database, self._clock)).status
            self._views = {view.record.store_id: view for view in status.stores}

    def _away(self, stands: Mapping[str, int], now: float) -> list[_Away]:
        """Return those that are lacking, when nobody else is waited for, and not for them."""
        least = min(stands.values(), default=ROUNDS)
        lacking = [name for name, rounds in stands.items() if rounds == least < ROUNDS]
        found = []
        for name in lacking:
            view = self._views.get(name)
            why = "" if name in self._here else _silence(view)
            if now - self._changed_at < _patience(view, why):
                return []
            label = name if view is None else view.label
            why = why or "its server lives, and does not do it: see its log"
            found.append(_Away(name, label, why))
        return found


def _patience(store: StoreView | None, why: str) -> float:
    """Return for how many seconds a store is waited for."""
    if not why:
        return STUCK_SECONDS
    return 0.0 if store and store.server_condition is Condition.STOPPED else AWAY_SECONDS


def _silence(store: StoreView | None) -> str:
    """Return why nothing can be expected of a store now; "" when something can."""
    if store is None:
        return "it is forgotten"
    if store.condition in _ALIVE:
        return ""
    if store.condition is Condition.TROUBLE:
        return store.record.trouble
    return f"its server is {store.server_condition.value}"


def _part(purge_id: str, store_id: str, rounds: int) -> StoreJob:
    """Return how far a store is, as progress shows it."""
    state = JobState.DONE if rounds >= ROUNDS else JobState.RUNNING
    return StoreJob(purge_id, store_id, "purge", state, rounds, ROUNDS, 0, "", "", 0.0, 0.0)


def _tell(desk: CommandContext, wanted: Reference, plan: PurgePlan, ended: _Ended) -> None:
    away: list[Row] = [
        {"store": each.store_id, "where": each.label, "why": each.why} for each in ended.away
    ]
    row: Row = {
        "reference": str(wanted),
        "images": len(plan.manifests),
        "blobs": plan.blobs,
        "chunks": plan.chunks,
        "bytes": plan.size,
        "shared": plan.shared,
        "complete": not away,
        "live": list(plan.live),
        "away": away,
        "stores": [
            {"store": name, "where": ended.labels.get(name, name), "unlinked": rounds > 0}
            for name, rounds in ended.stands.items()
        ],
    }
    if desk.out.as_json:
        desk.out.one((), row)
        return
    desk.out.one(_DONE, row)
    if away:
        desk.out.rows(NOT_ASKED, away, "away")
        desk.out.note(
            "These stores unlink it before they serve again. Until then nobody can push the same "
            "chunks; one that never comes back: `treescale cluster forget`."
        )
    if plan.shared:
        desk.out.note(f"{plan.shared:,} chunks stay: other images, or uploads, have them as well.")
    for one in plan.live:
        desk.out.note(f"{one} was part of it, is not deleted, and stays with all it needs.")
