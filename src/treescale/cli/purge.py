"""`treescale collect --purge`: what was deleted is gone at once, from the rows and every store."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import click

from treescale.cli.reports.job_report import INTERRUPTED, NOT_ASKED
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import CommandContext
from treescale.cli.terminal.output import size
from treescale.cli.terminal.progress import WorkProgress
from treescale.clock import Clock, SystemClock
from treescale.cluster.queries import read_status
from treescale.cluster.status import ClusterStatus, Condition, StoreView
from treescale.errors import (
    DatabaseTrouble,
    DatabaseUnavailable,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
)
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    VERSIONS_BEFORE,
    lease_of,
    unreadable_collection,
)
from treescale.maintenance.collection.state import Mode, mode_of
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.maintenance.report.purge_report import silence
from treescale.metadata.collection.open_purges import (
    ROUNDS,
    OpenPurge,
    OpenPurges,
    Stand,
)
from treescale.metadata.collection.purge_plan import NOTHING, PurgePlan, PurgeReader, StillThere
from treescale.metadata.collection.purging import Ended, InUse, Purging
from treescale.metadata.database import Database
from treescale.metadata.layouts import refuse
from treescale.metadata.records import JobState, StoreJob
from treescale.oci.image_name import ImageName, parse_image_name
from treescale.server.local_walk import walking_here

POLL_SECONDS: Final = 0.25
STATUS_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 5.0
"""So long a store is waited for that is away, and whose server has not said that it ends."""
STUCK_SECONDS: Final = 600.0
"""So long it is waited while nothing moves: pushes use what goes, or living servers do nothing."""
TRY_SECONDS: Final = 0.5
LEFT: Final = 1
"""The exit status when a store has not confirmed yet."""
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
class _Followed:
    """What came of it."""

    stands: Mapping[tuple[str, str], Stand]
    """By purge and store."""
    labels: Mapping[str, str]
    away: Sequence[_Away]


def purge(desk: CommandContext, text: str, *, yes: bool) -> None:
    """Purge what was deleted at `text`, after a question, and follow the stores until it is gone.

    What was begun before at the same name goes on. Ends with the status 1 when stores are away.
    """
    wanted, clock = parse_image_name(text), SystemClock()

    async def look(database: Database) -> tuple[PurgePlan, list[OpenPurge], ClusterStatus]:
        status = (await read_status(database, clock)).status
        await _check_allowed(database, wanted.name)
        listed = await OpenPurges(database.connections).list()
        begun = [one for one in listed if one.reference == str(wanted)]
        return await _plan(database, wanted, begun), begun, status

    plan, begun, status = desk.run(look)
    if plan is NOTHING:
        desk.out.note(f"{wanted}: its rows were taken away before; going on with its stores.")
    else:
        _ask(wanted, plan, status, yes=yes)

    async def work(database: Database) -> _Followed:
        settings, actor = desk.loaded.settings, cli_actor()
        async with walking_here(settings, database, mends=False, actor=actor) as here:
            with WorkProgress("Purging", clock, quiet=desk.out.as_json) as progress:
                for path, why in here.refused.items():
                    progress.say(f"No server has {path}, and this command cannot use it: {why}.")
                taken = await _take(database, wanted, plan, begun, clock)
                return await _Following(database, taken, progress, clock, here.paths).run()

    again = f"`treescale collect --purge {wanted}` goes on with it"
    try:
        followed = desk.run(work)
    except KeyboardInterrupt:
        desk.out.note(f"\nThe servers go on with what was taken away so far; {again}.")
        raise SystemExit(INTERRUPTED) from None
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"{error}; {again}", error.trouble) from error
    _tell(desk, wanted, plan, begun, followed)
    click.get_current_context().exit(LEFT if followed.away else 0)


async def _plan(database: Database, wanted: ImageName, begun: Sequence[OpenPurge]) -> PurgePlan:
    """Return what goes; nothing when that was taken away by a purge that is under way."""
    try:
        reader = PurgeReader(database.connections)
        return await reader.plan(wanted.name, wanted.tag, wanted.digest)
    except (NameUnknown, ManifestUnknown, StillThere):
        if begun:
            return NOTHING
        raise


async def _check_allowed(database: Database, repository: str) -> None:
    """Raise PreconditionFailed while a server may name chunks that knows nothing of the fence.

    Raises ReadOnly where all is to stay as it is.
    """
    refuse(repository, await database.read_only.why(repository))
    settings, servers = database.settings, database.servers
    collection = await settings.get(COLLECTION_SETTING)
    for unreadable in unreadable_collection(collection):
        raise PreconditionFailed(
            f"{unreadable.why}, so it may be the database of a restored backup: see that it is "
            f"the right one, and say {unreadable.mended_by} first"
        )
    if mode_of(collection) is Mode.FROZEN:
        raise PreconditionFailed(
            "the database was restored and collection is frozen: see that it is the right one, and "
            "lift that with `treescale collect --after-restore` first"
        )
    lease = lease_of(await settings.get(LEASE_SETTING)).lease
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


def _ask(wanted: ImageName, plan: PurgePlan, status: ClusterStatus, *, yes: bool) -> None:
    """Ask, and say how much; raises UsageError when nobody is there to answer."""
    away = [f"{store.label} ({silence(store)})" for store in status.stores if silence(store)]
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


async def _take(
    database: Database,
    wanted: ImageName,
    plan: PurgePlan,
    begun: Sequence[OpenPurge],
    clock: Clock,
) -> list[str]:
    """Take the rows away; return the purges that do it. Whoever uses some just now is waited for.

    What a server has ended meanwhile, since it took long, goes on as another purge.
    """
    purging, actor, patience = Purging(database.connections), cli_actor(), _Patience(clock)
    taken = [one.purge_id for one in begun]
    for one in begun:
        await patience.until_done(partial(purging.finish, one.purge_id, patience.moved))
    while plan is not NOTHING:
        taken.append(secrets.token_hex(16))
        await purging.begin(taken[-1], str(wanted), actor=actor)
        try:
            await patience.until_done(
                partial(purging.take, taken[-1], plan, actor=actor, moved=patience.moved)
            )
        except Ended:
            continue
        await patience.until_done(partial(purging.finish, taken[-1], patience.moved))
        break
    return taken


class _Patience:
    """Tries again what is in use, until nothing has moved for `STUCK_SECONDS`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moved_at = clock.monotonic()

    def moved(self) -> None:
        """Hear that something was done."""
        self._moved_at = self._clock.monotonic()

    async def until_done(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it, as often as it takes. Raises DatabaseUnavailable."""
        while True:
            try:
                return await act()
            except DatabaseUnavailable as error:
                in_use = isinstance(error, InUse) or error.trouble is DatabaseTrouble.BUSY
                stuck = self._clock.monotonic() - self._moved_at >= STUCK_SECONDS
                if stuck or not in_use or isinstance(error, Ended):
                    raise
            await asyncio.sleep(TRY_SECONDS)


class _Following:
    """Follows the stores until all have confirmed, or those that have not are away."""

    def __init__(
        self,
        database: Database,
        purge_ids: Collection[str],
        progress: WorkProgress,
        clock: Clock,
        here: Mapping[str, str],
    ) -> None:
        self._database = database
        self._purging = Purging(database.connections)
        self._open = OpenPurges(database.connections)
        self._purge_ids = purge_ids
        self._progress = progress
        self._clock = clock
        self._here = here
        self._chunks: Mapping[str, int] = {}
        self._views: Mapping[str, StoreView] = {}
        self._looked_at = float("-inf")
        self._changed_at = clock.monotonic()

    async def run(self) -> _Followed:
        """Return once nobody is to be waited for."""
        self._chunks = {one.purge_id: one.chunks for one in await self._open.list()}
        known: Mapping[tuple[str, str], Stand] = {}
        while True:
            stands = {
                (purge_id, store_id): stand
                for purge_id, each in (await self._open.stands(self._purge_ids)).items()
                for store_id, stand in each.items()
            }
            # After the look: of what is seen as confirmed by all nothing is left open.
            await self._purging.end()
            now = self._clock.monotonic()
            if stands != known:
                known, self._changed_at = stands, now
            await self._look(now)
            self._progress.show([self._part(*key, stand) for key, stand in stands.items()])
            away = self._away(stands, now)
            if away or all(stand.has_confirmed for stand in stands.values()):
                labels = {name: view.label for name, view in self._views.items()}
                return _Followed(stands, labels, away)
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self, now: float) -> None:
        if now - self._looked_at >= STATUS_SECONDS:
            self._looked_at = now
            status = (await read_status(self._database, self._clock)).status
            self._views = {view.record.store_id: view for view in status.stores}

    def _away(self, stands: Mapping[tuple[str, str], Stand], now: float) -> list[_Away]:
        """Return those that are lacking, when nobody else is waited for, and not for them."""
        least: dict[str, int] = {}
        for (purge_id, _), stand in stands.items():
            least[purge_id] = min(stand.rounds, least.get(purge_id, ROUNDS))
        lacking = dict.fromkeys(
            store_id
            for (purge_id, store_id), stand in stands.items()
            if stand.rounds == least[purge_id] and not stand.has_confirmed
        )
        found = []
        for name in lacking:
            view = self._views.get(name)
            is_at_work = any(stands[key].is_at_work for key in stands if key[1] == name)
            why = "" if is_at_work or name in self._here else silence(view)
            if now - self._changed_at < _patience(view, why):
                return []
            label = name if view is None else view.label
            why = why or "its server lives, and has done nothing for long: see its log"
            found.append(_Away(name, label, why))
        return found

    def _part(self, purge_id: str, store_id: str, stand: Stand) -> StoreJob:
        """Return how far a store is, as progress shows it."""
        chunks = max(1, self._chunks.get(purge_id, 0))
        state = JobState.DONE if stand.has_confirmed else JobState.RUNNING
        done = stand.rounds * chunks + min(stand.looked, chunks)
        return StoreJob(
            purge_id, store_id, "purge", state, done, ROUNDS * chunks, 0, "", "", 0.0, 0.0
        )


def _patience(store: StoreView | None, why: str) -> float:
    """Return for how many seconds a store is waited for."""
    if not why:
        return STUCK_SECONDS
    return 0.0 if store and store.server_condition is Condition.STOPPED else AWAY_SECONDS


def _tell(
    desk: CommandContext,
    wanted: ImageName,
    plan: PurgePlan,
    begun: Sequence[OpenPurge],
    followed: _Followed,
) -> None:
    away: list[Row] = [
        {"store": each.store_id, "where": each.label, "why": each.why} for each in followed.away
    ]
    unlinked: dict[str, bool] = {}
    for (_, name), stand in followed.stands.items():
        unlinked[name] = unlinked.get(name, True) and stand.rounds > 0
    row: Row = {
        "reference": str(wanted),
        "images": len(plan.manifests),
        "blobs": plan.blobs,
        "chunks": plan.chunks + sum(one.chunks for one in begun),
        "bytes": plan.size + sum(one.size for one in begun),
        "shared": plan.shared,
        "complete": not away,
        "live": list(plan.live),
        "away": away,
        "stores": [
            {"store": name, "where": followed.labels.get(name, name), "unlinked": done}
            for name, done in unlinked.items()
        ],
    }
    if desk.out.as_json:
        desk.out.one((), row)
        return
    desk.out.one(_DONE, row)
    if away:
        desk.out.rows(NOT_ASKED, away, "away")
        desk.out.note(
            "These stores have not confirmed, and unlink it before they serve again. Until then "
            "nobody can push the same chunks. One that never comes back: `treescale cluster "
            "forget`."
        )
        desk.out.note(f"`treescale collect --purge {wanted}` waits for them once more.")
    if plan.shared:
        desk.out.note(f"{plan.shared:,} chunks stay: other images, or uploads, have them as well.")
    for one in plan.live:
        desk.out.note(f"{one} was part of it, is not deleted, and stays with all it needs.")
