"""A purge as somebody asks for it: may it be, what goes, and its rows taken away.

The stores follow by themselves (`maintenance.purger`), whoever waits for them.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from treescale.clock import Clock
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
from treescale.metadata.collection.open_purges import OpenPurge, OpenPurges
from treescale.metadata.collection.purge_plan import NOTHING, PurgePlan, PurgeReader, StillThere
from treescale.metadata.collection.purging import Ended, InUse, Purging
from treescale.metadata.database import Database
from treescale.metadata.layouts import refuse
from treescale.metadata.usage.counting import UsageCounter
from treescale.oci.image_reference import ImageReference

TRY_SECONDS: Final = 0.5


class Patience:
    """Tries again what is in use, until nothing has moved for some seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
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
                stuck = self._clock.monotonic() - self._moved_at >= self._seconds
                if stuck or not in_use or isinstance(error, Ended):
                    raise
            await asyncio.sleep(TRY_SECONDS)


async def plan_purge(
    database: Database, wanted: ImageReference
) -> tuple[PurgePlan, list[OpenPurge]]:
    """Return what goes, and which purges of the same are under way.

    NOTHING when these have taken it away. Raises PreconditionFailed and ReadOnly when nothing may
    be purged now; NameUnknown, ManifestUnknown and StillThere when there is nothing deleted.
    """
    await _check_allowed(database, wanted.name)
    listed = await OpenPurges(database.connections).list()
    begun = [one for one in listed if one.reference == str(wanted)]
    try:
        reader = PurgeReader(database.connections)
        return await reader.plan(wanted.name, wanted.tag, wanted.digest), begun
    except (NameUnknown, ManifestUnknown, StillThere):
        if begun:
            return NOTHING, begun
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


async def take_away(
    database: Database,
    wanted: ImageReference,
    planned: tuple[PurgePlan, Sequence[OpenPurge]],
    patience: Patience,
    *,
    actor: str,
) -> list[str]:
    """Take the rows away; return the purges that do it. Whoever uses some just now is waited for.

    What a server has ended meanwhile, since it took long, goes on as another purge. Raises
    DatabaseUnavailable; to ask again goes on with it.
    """
    plan, begun = planned
    purging = Purging(database.connections)
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
    await UsageCounter(database.connections).count()  # what it frees of a quota is free at once
    return taken
