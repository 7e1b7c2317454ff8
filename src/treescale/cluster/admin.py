"""What an administrator does to servers and stores: set copies, drain, undrain, forget.

Only rows change here; `check` is asked, in the transaction that changes a setting, whether it may
be: `layouts.Check`. The servers see it with their next turn, within seconds, and put the layout
that follows in force; while none is up it is made by the first that starts.
"""

from collections.abc import Iterable

from treescale.chunks.format.placement import build_table
from treescale.clock import Clock
from treescale.cluster.data_loss import DataLoss, layouts_in_use, loss
from treescale.cluster.layout import COPIES_SETTING, copies_asked, layout_of
from treescale.cluster.liveness import LIVE_SECONDS, is_live
from treescale.cluster.lookup import Target
from treescale.cluster.queries import LAYOUTS_READ, missing_at, placing_of, read_status, strike
from treescale.cluster.status import ClusterStatus, Condition
from treescale.errors import LastCopies, SettingInvalid, Unsupported
from treescale.events.retention import (
    AUDIT_DAYS,
    AUDIT_SETTING,
    DEFAULT,
    Retention,
    parse_audit,
    parse_retention,
)
from treescale.events.retention import SETTING as EVENTS_SETTING
from treescale.lease_times import (
    COLLECTION_SETTING,
    FROZEN,
    LEASE_SETTING,
    OFF,
    ON,
    READ_ONLY_SETTING,
    UNTAGGED_SETTING,
    VERSIONS_BEFORE,
    parse_lease,
    parse_seconds,
    parse_untagged,
    stored,
)
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import HOOKS_SETTING
from treescale.metadata.identity.providers import Providers
from treescale.metadata.organisations import ANONYMOUS_SETTING, PASSWORDS_SETTING
from treescale.metadata.records import LayoutRecord, StoreState, is_full
from treescale.metadata.settings.settings import Check
from treescale.metadata.usage.pull_counts import SETTING as PULLS_SETTING
from treescale.outbound.networks import check_allowed, parse_targets


async def set_copies(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> int:
    """Ask for so many copies; raises SettingInvalid unless there are stores for them."""
    copies = copies_asked(text)
    stores = await database.stores.list()
    active = sum(store.state is StoreState.ACTIVE for store in stores)
    if copies is None or copies > active:
        raise SettingInvalid(
            f"copies={text} needs as many stores, and the cluster has {active} that "
            "are not being drained: add stores first"
        )
    await database.settings.change(COPIES_SETTING, str(copies), actor=actor, check=check)
    return copies


async def set_time(
    database: Database,
    name: str,
    text: str,
    *,
    unsafe: bool,
    actor: str,
    check: Check | None = None,
) -> float | None:
    """Set the lease, or for how long something is kept; return its seconds, None for ever.

    Raises SettingInvalid.
    """
    if name == LEASE_SETTING:
        seconds = parse_lease(text, unsafe=unsafe).lease
    elif name == UNTAGGED_SETTING:
        kept = parse_untagged(text, unsafe=unsafe)
        if kept is None:
            await database.settings.change(name, None, actor=actor, check=check)
            return None
        seconds = kept
    else:
        seconds = 0.0 if text == "0" else parse_seconds(text)
    await database.settings.change(name, stored(seconds), actor=actor, check=check)
    return seconds


async def set_collection(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> None:
    """Stop all collection, or have it go on; raises SettingInvalid."""
    on_or_off(COLLECTION_SETTING, text)
    if await database.settings.get(COLLECTION_SETTING) == FROZEN:
        raise SettingInvalid(
            "the database was restored from a backup: `treescale collect --after-restore` shows "
            "what would go, and asks"
        )
    await database.settings.change(COLLECTION_SETTING, text, actor=actor, check=check)


async def set_hooks(
    database: Database, name: str, text: str, *, actor: str, check: Check | None = None
) -> None:
    """Have webhooks sent, or pulls told of, or not; or say which networks others may lead to.

    Raises SettingInvalid.
    """
    if name in (HOOKS_SETTING, PULLS_SETTING):
        on_or_off(name, text)
    else:
        check_allowed(parse_targets(text))
    await database.settings.change(name, text, actor=actor, check=check)


async def set_anonymous(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> None:
    """Have what is public be for all, or for whoever logs in; raises SettingInvalid."""
    on_or_off(ANONYMOUS_SETTING, text)
    await database.settings.change(ANONYMOUS_SETTING, text, actor=actor, check=check)


async def set_passwords(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> None:
    """Have everybody's passwords count, or those of administrators alone; raises SettingInvalid."""
    on_or_off(PASSWORDS_SETTING, text)
    await Providers(database.connections).set_passwords(text, actor=actor, check=check)


async def set_events(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> Retention:
    """Set which events are kept; return that. Raises SettingInvalid."""
    kept = parse_retention(text)
    value = None if kept == DEFAULT else text
    await database.settings.change(EVENTS_SETTING, value, actor=actor, check=check)
    return kept


async def set_audit(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> float | None:
    """Set for how many seconds the audit log is kept, None: for ever. Raises SettingInvalid."""
    kept = parse_audit(text)
    value = None if kept == AUDIT_DAYS * 86400.0 else text
    await database.settings.change(AUDIT_SETTING, value, actor=actor, check=check)
    return kept


async def set_read_only(
    database: Database, text: str, *, actor: str, check: Check | None = None
) -> list[str]:
    """Have all stay as it is, or end that; return the servers that do not heed it.

    These are of 0.1.0, and run. Raises SettingInvalid.
    """
    read_only = on_or_off(READ_ONLY_SETTING, text)
    await database.read_only.set_cluster(read_only=read_only, actor=actor, check=check)
    if not read_only:
        return []
    now = await database.servers.now()
    return [
        each.name
        for each in await database.servers.list()
        if each.version in VERSIONS_BEFORE and is_live(each.seen, now)
    ]


def on_or_off(name: str, text: str) -> bool:
    """Return whether it is on; raises SettingInvalid for any other word."""
    if text not in (ON, OFF):
        raise SettingInvalid(f"{name}={text} is nothing to set: say {name}=on or =off")
    return text == ON


async def set_state(database: Database, target: Target, state: StoreState, *, actor: str) -> None:
    """Drain its stores, or take that back; twice is once. Raises Unsupported when it has none."""
    if not target.stores:
        raise Unsupported(f"{target.label} has no stores: there is nothing to drain")
    for store in target.stores:
        await database.stores.set_state(store.store_id, state, actor=actor)


async def left_to_move(database: Database, store_ids: Iterable[str], clock: Clock) -> list[str]:
    """Return what is to be waited for until these stores are empty; nothing when they are.

    Raises Unsupported when it cannot be for as long as the cluster is as it is.
    """
    waiting = frozenset(store_ids)
    seen = (await read_status(database, clock)).status
    impossible = {seen.held[name] for name in waiting if name in seen.held}
    if impossible:
        raise Unsupported(f"it cannot leave the layout: {'; '.join(sorted(impossible))}")
    return [*_left(seen, waiting)]


async def forget(database: Database, target: Target, *, lost: bool, actor: str) -> int:
    """Forget it, and what it was owed; return how many copies that were.

    Raises Unsupported when it is in use (it would register again), LastCopies when, as far as
    layouts and debts tell, chunks are lost with it, unless `lost` says that they are anyway. What
    was begun and not finished may be begun again.
    """
    await _check_unused(database, target)
    if not lost:
        await _check_loss(database, target)
    if target.server is not None:
        await database.servers.remove(target.server.server_id, actor=actor)
    # Those of a server went with it; others have to go one by one.
    for store in await database.stores.list():
        if store.store_id in target.store_ids:
            await database.stores.remove(store.store_id, actor=actor)
    for store_id in target.store_ids:
        await database.walks.remove(store_id)
    return sum([await strike(database.under_replicated, store_id) for store_id in target.store_ids])


async def _check_unused(database: Database, target: Target) -> None:
    """Raise Unsupported for a server or a store that was heard of lately and is not in trouble.

    One that is only full is in use: it is read, and its living server says so.
    """
    now = await database.servers.now()
    heard = [store.seen for store in target.stores if not store.trouble]
    if target.server is not None:
        heard = [target.server.seen]
    else:
        full = {store.server_id for store in target.stores if is_full(store.trouble)}
        heard += [each.seen for each in await database.servers.list() if each.server_id in full]
    if any(is_live(seen, now) for seen in heard):
        stop = "stop it" if target.server else "start its server without it"
        raise Unsupported(
            f"{target.label} is in use and would register again: {stop}, and forget it "
            f"{LIVE_SECONDS:.0f} s later"
        )


async def _check_loss(database: Database, target: Target) -> None:
    """Raise LastCopies when forgetting loses what has no other copy."""
    stores = await database.stores.list()
    existing = frozenset(store.store_id for store in stores)
    leaving = existing.intersection(target.store_ids)
    layouts = await database.layouts.list(LAYOUTS_READ)
    placing = await placing_of(database)
    if placing.first_push is None or placing.oldest == 0 or not leaving:
        return
    if not layouts:
        raise LastCopies(
            "no layout says where chunks lie, so that nobody can tell what would be lost with "
            f"{target.label}. Say --lost if it is gone for good"
        )
    found = layouts_in_use(layouts, existing, placing)
    tables = [build_table(layout_of(record)) for record in found]
    debts = await missing_at(database.under_replicated, sorted(existing - leaving))
    would = loss(leaving, tables, existing, debts)
    if would:
        raise LastCopies(
            f"{target.label} has the last copies of {_in_words(would, layouts)}, as far as "
            "layouts and what is owed tell. Leave it (drained, it is still read), or bring it "
            "back; if it is gone for good, say --lost, and what had no other copy stays lost"
        )


def _in_words(would: DataLoss, layouts: Iterable[LayoutRecord]) -> str:
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


def _left(seen: ClusterStatus, waiting: frozenset[str]) -> Iterable[str]:
    """Yield what is still to be waited for until these stores are empty."""
    if not any(server.condition is Condition.UP for server in seen.servers):
        yield "no server is up: the first that starts makes the next layout"
        return
    assert seen.layout is not None, "the store was in one"
    for store in seen.stores:
        if store.record.store_id not in waiting:
            continue
        if store.in_layout:
            yield f"{store.label} is in the layout"
        elif store.condition not in (Condition.UP, Condition.FULL):
            yield f"{store.label} is {store.condition.value}: its server moves what it holds"
        elif store.walk is None or store.walk.layout != seen.layout.number:
            yield f"{store.label} has not begun"
        elif store.walk.pending or store.walk.misplaced:
            yield (
                f"{store.label} holds {store.walk.misplaced:,} copies to be moved, and has "
                f"{store.walk.pending:,} partitions to look at"
            )
