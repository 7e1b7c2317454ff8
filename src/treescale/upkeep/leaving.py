"""What an administrator does to servers and stores: set copies, drain, undrain, forget.

Only rows change here. The servers see it with their next turn, within seconds, and put the layout
that follows in force; while none is up it is made by the first that starts.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from treescale.chunks.placement import build_table
from treescale.clock import Clock
from treescale.errors import LastCopies, SettingInvalid, Unsupported
from treescale.metadata.protocols import Database
from treescale.metadata.records import LayoutRecord, StoreState
from treescale.upkeep.debts import debts_to, strike
from treescale.upkeep.losses import Loss, loss, weighed
from treescale.upkeep.members import COPIES_SETTING, copies_asked, layout_of, live_seconds
from treescale.upkeep.overview import Condition, Overview
from treescale.upkeep.survey import layouts_read, survey
from treescale.upkeep.targets import Target

poll_seconds: Final = 2.0


async def set_copies(database: Database, text: str) -> int:
    """Ask for so many copies; raises SettingInvalid unless there are stores for them."""
    copies = copies_asked(text)
    stores = await database.stores.list()
    active = sum(store.state is StoreState.ACTIVE for store in stores)
    if copies is None or copies > active:
        raise SettingInvalid(
            f"copies={text} needs as many stores, and the cluster has {active} that "
            "are not being drained: add stores first"
        )
    await database.settings.put(COPIES_SETTING, str(copies))
    return copies


async def set_state(database: Database, target: Target, state: StoreState) -> None:
    """Drain its stores, or take that back; twice is once. Raises Unsupported when it has none."""
    if not target.stores:
        raise Unsupported(f"{target.label} has no stores: there is nothing to drain")
    for store in target.stores:
        await database.stores.set_state(store.store_id, state)


async def wait_until_out(
    database: Database,
    store_ids: Iterable[str],
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]],
    tell: Callable[[str], None],
) -> None:
    """Return when none of the stores is in the layout; `tell` hears why that takes time, once each.

    For as long as it takes: whoever waits may stop.
    """
    told: set[str] = set()
    waiting = frozenset(store_ids)
    while True:
        seen = (await survey(database, clock)).overview
        inside = {label.store_id for label in seen.layout.stores} if seen.layout else set()
        if not inside & waiting:
            return
        for reason in _reasons(seen, waiting):
            if reason not in told:
                told.add(reason)
                tell(reason)
        await sleep(poll_seconds)


async def forget(database: Database, target: Target, *, lost: bool) -> int:
    """Forget it, and what it was owed; return how many copies that were.

    Raises Unsupported when it is in use (it would register again), LastCopies when, as far as
    layouts and debts tell, chunks are lost with it, unless `lost` says that they are anyway. What
    was begun and not finished may be begun again.
    """
    await _check_unused(database, target)
    if not lost:
        await _check_loss(database, target)
    if target.server is not None:
        await database.servers.remove(target.server.server_id)
    # Those of a server went with it; others have to go one by one.
    for store in await database.stores.list():
        if store.store_id in target.store_ids:
            await database.stores.remove(store.store_id)
    return sum([await strike(database.owed, store_id) for store_id in target.store_ids])


async def _check_unused(database: Database, target: Target) -> None:
    """Raise Unsupported for a server or a store that was heard of lately and is not in trouble."""
    now = await database.servers.now()
    heard = [store.seen for store in target.stores if not store.trouble]
    if target.server is not None:
        heard = [target.server.seen]
    if any(abs(now - seen) <= live_seconds for seen in heard):
        stop = "stop it" if target.server else "start its server without it"
        raise Unsupported(
            f"{target.label} is in use and would register again: {stop}, and forget it "
            f"{live_seconds:.0f} s later"
        )


async def _check_loss(database: Database, target: Target) -> None:
    """Raise LastCopies when forgetting loses what has no other copy."""
    stores = await database.stores.list()
    existing = frozenset(store.store_id for store in stores)
    leaving = existing.intersection(target.store_ids)
    layouts = await database.layouts.list(layouts_read)
    first_push = await database.repositories.first_created()
    if first_push is None or not leaving:
        return
    if not layouts:
        raise LastCopies(
            "no layout says where chunks lie, so that nobody can tell what would be lost with "
            f"{target.label}. Say --lost if it is gone for good"
        )
    found = weighed(layouts, existing, first_push)
    tables = [build_table(layout_of(record)) for record in found]
    debts = await debts_to(database.owed, sorted(existing - leaving))
    would = loss(leaving, tables, existing, debts)
    if would:
        raise LastCopies(
            f"{target.label} has the last copies of {_in_words(would, layouts)}, as far as "
            "layouts and what is owed tell. Leave it (drained, it is still read), or bring it "
            "back; if it is gone for good, say --lost, and what had no other copy stays lost"
        )


def _in_words(would: Loss, layouts: Iterable[LayoutRecord]) -> str:
    """Return what would be lost."""
    newest = max(layout.number for layout in layouts)
    parts = [
        f"{share:.0%} of what was pushed under layout {number}"
        + (", the present one" if number == newest else "")
        for number, share in would.shares
    ]
    if would.owed:
        parts.append(f"{would.owed:,} chunks whose other homes are owed theirs")
    if not would.certain:
        parts.append("perhaps more: too much is owed to look through it all")
    return "; ".join(parts)


def _reasons(seen: Overview, waiting: frozenset[str]) -> Iterable[str]:
    """Yield why the stores are in the layout still."""
    for held in sorted({seen.held[name] for name in waiting if name in seen.held}):
        yield f"the layout stays as it is: {held}"
    if not any(server.condition is Condition.UP for server in seen.servers):
        yield "no server is up: the first that starts makes the next layout"
