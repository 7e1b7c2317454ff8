"""`treescale cluster`: see the servers and stores, say what becomes of them."""

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import click

from treescale.cli.may_stop import may_stop
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.cli.terminal.output import for_people
from treescale.clock import SystemClock
from treescale.cluster import admin
from treescale.cluster.layout import COPIES_SETTING, Blocked, wanted_copies
from treescale.cluster.lookup import Target, resolve
from treescale.cluster.queries import StatusReading, read_status
from treescale.cluster.status import ClusterStatus
from treescale.config import UNSAFE_LEASES_VARIABLE
from treescale.errors import SettingInvalid
from treescale.events.retention import AUDIT_SETTING
from treescale.events.retention import SETTING as EVENTS_SETTING
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    ON,
    READ_ONLY_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
)
from treescale.maintenance.report.cluster_status import (
    ADVICE,
    COLLECTION,
    LOST,
    SERVERS,
    STORES,
    STORES_AT_A_GLANCE,
    SUMMARY,
    at_a_glance,
    columns_at_a_glance,
    is_collecting,
    room,
    server_at_a_glance,
)
from treescale.maintenance.report.collection_report import (
    FREEING,
)
from treescale.maintenance.report.purge_report import PURGES
from treescale.maintenance.report.reading import read_report
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import HOOKS_SETTING, NETWORKS_SETTING
from treescale.metadata.identity.records import ISSUER_NETWORKS_SETTING
from treescale.metadata.organisations import ANONYMOUS_SETTING, PASSWORDS_SETTING
from treescale.metadata.records import StoreState
from treescale.metadata.usage.pull_counts import SETTING as PULLS_SETTING
from treescale.registry.counted.quotas import CLUSTER_SETTINGS

DRAINED: Final = (
    "What it holds moves to the others, and is read the whole time: keep it in service until "
    "`treescale cluster status` has it with 0 misplaced copies, or use --wait."
)
READ_ONLY: Final = (
    "The registry is read-only from now on: pulls go on, pushes and deletions are refused, nothing "
    "is collected. `treescale cluster set read_only=off` ends it."
)


@click.group(cls=CommandGroup)
def cluster() -> None:
    """Look after the servers and stores."""


@cluster.command("status", short_help="Show servers, stores, copies owed, and what to do.")
@cluster_options
def status(desk: CommandContext) -> None:
    """Show servers, stores, layout and copies owed, and what to do about it."""
    report = desk.run(read_report)
    seen, summary, lists = report.seen.status, report.summary(), report.lists(room)
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, **lists})
        return
    desk.out.one(SUMMARY, summary)
    servers, stores = lists["servers"], lists["stores"]
    if for_people():
        pairs = zip(servers, seen.servers, strict=True)
        glances = [server_at_a_glance(row, one.throughput) for row, one in pairs]
        desk.out.rows(columns_at_a_glance(servers, seen), glances)
        desk.out.rows(STORES_AT_A_GLANCE, [at_a_glance(row) for row in stores])
    else:
        desk.out.rows(SERVERS, servers, "server")
        desk.out.rows(STORES, stores, "store")
    collection = [row for row in lists["collection"] if is_collecting(row)]
    for columns, listed, name in (
        (FREEING, lists["freeing"], "freeing"),
        (PURGES, lists["purges"], "purge"),
        (COLLECTION, collection, "collection"),
        (LOST, lists["lost"], "lost"),
    ):
        if listed:
            desk.out.rows(columns, listed, name)
    missing, links = len(lists["lost"]), report.lost.links
    if links > missing:
        desk.out.note(f"Of {links:,} lost blobs the first {missing} are shown.")
    if lists["advice"]:
        desk.out.rows(ADVICE, lists["advice"], "advice")


cluster.add_command(may_stop)


@cluster.command("set")
@click.argument("setting", metavar="NAME=VALUE")
@cluster_options
def set_(desk: CommandContext, setting: str) -> None:
    """Say what all servers go by: copies, undelete, collection and more.

    copies: how many of each chunk there are to be; 3, or the number of servers when there are
    fewer. undelete: for how long what was deleted can be restored, and holds its bytes; 0: not at
    all. untagged: after how long an image goes that nothing holds, no tag, index or subject, and
    that nobody pulls; keep: never. lease: for how long a chunk is kept after its last put, 1h at
    least; all times of collection follow from it. collection: on, or off, and nothing is taken away
    for good. events: for how long events are kept, a time such as 30d, or so many; keep: for ever.
    audit: for how long the audit log is, 30d or more, such as 1y. events-pulls: on, or off, and no
    event tells of pulls. read_only: on, and nothing is pushed, deleted or taken away while pulls go
    on; or off. hooks: on, or off, and no webhook is sent. hook-networks: the private networks that
    webhooks may lead to, such as 10.0.0.0/8 or 192.168.1.5:8080, with commas between; none without
    any. issuer-networks: likewise those in which issuers of ID tokens are asked for their keys.
    anonymous: off, and nobody pulls without logging in, not even what is public; or on. passwords:
    off, and the passwords of administrators alone count, as everybody else signs on by a provider;
    or on. quota: how much a namespace may have that has no quota of its own, such as 50GB;
    repositories-max and tags-max: how many repositories it may have, and each of them tags;
    requests-max and pulls-max: how many an account may have in a minute on each server; none: any
    number.
    """
    name, equals, value = setting.partition("=")
    put = _SETTERS.get(name) if equals else None
    if put is None:
        raise SettingInvalid(
            f"{setting!r} is nothing to set: say copies=3, undelete=7d, untagged=keep, lease=24h, "
            "collection=off, events=30d, audit=1y, events-pulls=off, read_only=on, hooks=off, "
            "hook-networks=10.0.0.0/8, issuer-networks=10.0.0.0/8, anonymous=off, "
            "passwords=off, quota=50GB, repositories-max=100, tags-max=1000, requests-max=6000 or "
            "pulls-max=600"
        )
    put(desk, name, value)


def _set_copies(desk: CommandContext, name: str, value: str) -> None:
    async def work(database: Database) -> tuple[int, StatusReading]:
        copies = await admin.set_copies(database, value, actor=cli_actor())
        return copies, await read_status(database, SystemClock())

    copies, seen = desk.run(work)
    desk.out.done(_copies_told(copies, seen.status), {name: copies})


def _set_time(desk: CommandContext, name: str, value: str) -> None:
    unsafe = os.environ.get(UNSAFE_LEASES_VARIABLE) == "1"
    put = partial(admin.set_time, name=name, text=value, unsafe=unsafe, actor=cli_actor())
    seconds = desk.run(put)
    desk.out.done(f"{name} is {value} from now on.", {name: seconds})


def _set_collection(desk: CommandContext, name: str, value: str) -> None:
    desk.run(partial(admin.set_collection, text=value, actor=cli_actor()))
    desk.out.done(f"{name} is {value} from now on.", {name: value})


def _set_hooks(desk: CommandContext, name: str, value: str) -> None:
    desk.run(partial(admin.set_hooks, name=name, text=value, actor=cli_actor()))
    desk.out.done(f"{name} is {value or 'none'} from now on.", {name: value})


def _set_events(desk: CommandContext, name: str, value: str) -> None:
    kept = desk.run(partial(admin.set_events, text=value, actor=cli_actor()))
    told = {f"{name}_seconds": kept.seconds, f"{name}_count": kept.count}
    desk.out.done(f"{name} is {value} from now on.", told)


def _set_audit(desk: CommandContext, name: str, value: str) -> None:
    lasts = desk.run(partial(admin.set_audit, text=value, actor=cli_actor()))
    desk.out.done(f"{name} is {value} from now on.", {f"{name}_seconds": lasts})


def _set_read_only(desk: CommandContext, name: str, value: str) -> None:
    older = desk.run(partial(admin.set_read_only, text=value, actor=cli_actor()))
    told = READ_ONLY if value == ON else "Pushes and deletions are taken again."
    desk.out.done(told, {name: value == ON, "not_heeded_by": older})
    if older:
        desk.out.note(
            f"{', '.join(older)} runs 0.1.0, which knows no such setting and takes pushes: stop it."
        )


def _set_anonymous(desk: CommandContext, name: str, value: str) -> None:
    desk.run(partial(admin.set_anonymous, text=value, actor=cli_actor()))
    who = "whoever is logged in, and nobody else," if value != ON else "anybody"
    desk.out.done(f"What is public {who} pulls, within seconds.", {name: value})


def _set_limit(desk: CommandContext, name: str, value: str) -> None:
    field = name.replace("-", "_")
    limit = desk.ask("PUT", "/limits", body={field: value})[field]
    desk.out.done(f"{name} is {value} from now on, on all servers within a minute.", {name: limit})


def _set_passwords(desk: CommandContext, name: str, value: str) -> None:
    desk.run(partial(admin.set_passwords, text=value, actor=cli_actor()))
    whose = "everybody" if value == ON else "administrators alone"
    desk.out.done(f"Passwords are for {whose}, within seconds.", {name: value})


_SETTERS: Final[Mapping[str, Callable[[CommandContext, str, str], None]]] = {
    COPIES_SETTING: _set_copies,
    READ_ONLY_SETTING: _set_read_only,
    COLLECTION_SETTING: _set_collection,
    ANONYMOUS_SETTING: _set_anonymous,
    PASSWORDS_SETTING: _set_passwords,
    EVENTS_SETTING: _set_events,
    AUDIT_SETTING: _set_audit,
    **dict.fromkeys(
        (HOOKS_SETTING, NETWORKS_SETTING, PULLS_SETTING, ISSUER_NETWORKS_SETTING), _set_hooks
    ),
    **dict.fromkeys((LEASE_SETTING, UNDELETE_SETTING, UNTAGGED_SETTING), _set_time),
    **dict.fromkeys(CLUSTER_SETTINGS, _set_limit),
}
"""What sets each of the cluster's settings."""


@cluster.command("drain")
@click.argument("target", metavar="SERVER|STORE")
@click.option("--wait", is_flag=True, help="Return when it holds nothing any more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def drain(desk: CommandContext, target: str, *, wait: bool, yes: bool) -> None:
    """Move what it holds to the others, and home no new chunks there.

    SERVER is a name, an address or an id; STORE an id, a path or SERVER:PATH.
    """

    async def look(database: Database) -> tuple[Target, StatusReading]:
        return await _find(database, target), await read_status(database, SystemClock())

    _ask_for_fewer(*desk.run(look), yes=yes)

    async def work(database: Database) -> tuple[Target, StatusReading]:
        clock = SystemClock()
        found = await _find(database, target)
        await admin.set_state(database, found, StoreState.DRAINING, actor=cli_actor())
        if wait:
            ids = found.store_ids
            await admin.wait_until_drained(database, ids, clock, asyncio.sleep, _aside)
        return found, await read_status(database, clock)

    found, seen = desk.run(work)
    inside = _inside(found, seen.status)
    held = sorted({why for name, why in seen.status.held.items() if name in inside})
    desk.out.done(
        " ".join(
            [
                f"{found.label} is draining.",
                *_layout_told(inside, held),
                *_fewer(seen.status),
                DRAINED,
            ]
        ),
        {**_row(found, StoreState.DRAINING), "in_layout": bool(inside), "held": held},
    )


@cluster.command("undrain")
@click.argument("target", metavar="SERVER|STORE")
@cluster_options
def undrain(desk: CommandContext, target: str) -> None:
    """Home chunks there again: takes a drain back."""

    async def work(database: Database) -> Target:
        found = await _find(database, target)
        await admin.set_state(database, found, StoreState.ACTIVE, actor=cli_actor())
        return found

    found = desk.run(work)
    told = f"{found.label} is active: it is in the layout again seconds after it is heard of."
    desk.out.done(told, _row(found, StoreState.ACTIVE))


@cluster.command("forget")
@click.argument("target", metavar="SERVER|STORE")
@click.option("--lost", is_flag=True, help="Also when the last copies of something go with it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def forget(desk: CommandContext, target: str, *, lost: bool, yes: bool) -> None:
    """Strike off what will never come back, and what it was owed.

    SERVER is a name, an address or an id; STORE an id, a path or SERVER:PATH. Stop it first, and
    wait 15 s if it was killed.
    """

    async def look(database: Database) -> Target:
        return await _find(database, target)

    found = desk.run(look)
    confirm(f"Forget {found.label} for good?", yes=yes)

    async def work(database: Database) -> int:
        return await admin.forget(database, found, lost=lost, actor=cli_actor())

    struck = desk.run(work)
    desk.out.done(
        f"{found.label} is forgotten; copies that it was owed: {struck:,}. The layout follows "
        "within seconds, or when the first server starts.",
        {"forgotten": found.label, "stores": list(found.store_ids), "debts_struck": struck},
    )


async def _find(database: Database, word: str) -> Target:
    servers, stores = await database.servers.list(), await database.stores.list()
    creditors = [debt.store_id for debt in await database.under_replicated.summary()]
    return resolve(word, servers, stores, creditors)


def _copies_told(copies: int, seen: ClusterStatus) -> str:
    """Return what happens now."""
    now = "no layout yet" if seen.layout is None else f"{seen.layout.copies} in the present layout"
    told = [f"{copies} copies of each chunk are asked for ({now})."]
    if seen.layout_due:
        told.append("The layout follows within seconds, or when the first server starts.")
    told.append(
        "What is there follows: `treescale cluster status` shows the copies missing and misplaced."
    )
    return " ".join(told)


def _layout_told(inside: set[str], held: list[Blocked]) -> list[str]:
    if held:
        return [f"It is in the layout still: {'; '.join(held)}."]
    if inside:
        return ["It leaves the layout within seconds, or when the first server starts."]
    return ["It is not in the layout."]


def _ask_for_fewer(target: Target, reading: StatusReading, *, yes: bool) -> None:
    """Ask before a drain that leaves fewer copies, where nobody said how many there are to be."""
    seen = reading.status
    if seen.layout is None or seen.copies_asked is not None:
        return
    left = [store.record for store in seen.stores if store.record.store_id not in target.store_ids]
    copies = wanted_copies(None, left)
    if copies < seen.layout.copies:
        confirm(
            f"Without {target.label} each chunk has {copies} copies instead of "
            f"{seen.layout.copies}, for fewer servers are left. Drain it?",
            yes=yes,
        )


def _fewer(seen: ClusterStatus) -> list[str]:
    """Return what must be known when draining leaves fewer servers than there were copies."""
    if seen.layout is None or seen.copies_wanted >= seen.layout.copies:
        return []
    now, then = seen.layout.copies, seen.copies_wanted
    told = (
        f"Of each chunk there are {then} copies then instead of {now}, for fewer servers are left: "
        f"`treescale cluster set copies={now}` keeps it in the layout until others take its part."
    )
    return [told]


def _inside(target: Target, seen: ClusterStatus) -> set[str]:
    """Return which of its stores are in the layout in force."""
    if seen.layout is None:
        return set()
    return {label.store_id for label in seen.layout.stores}.intersection(target.store_ids)


def _row(target: Target, state: StoreState) -> dict[str, object]:
    return {"target": target.label, "stores": list(target.store_ids), "state": state.value}


def _aside(text: str) -> None:
    """Tell people, not those who read the answer."""
    click.echo(text, err=True)
