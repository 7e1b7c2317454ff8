"""`treescale cluster`: see the servers and stores, say what becomes of them."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import click

from treescale.cli.may_stop import may_stop
from treescale.cli.reports.cluster_status import (
    ADVICE,
    COLLECTION,
    LOST,
    LOST_BLOBS_LISTED_MAX,
    SERVERS,
    STORES,
    STORES_AT_A_GLANCE,
    SUMMARY,
    advice_row,
    at_a_glance,
    collection_rows,
    columns_at_a_glance,
    is_collecting,
    lost_row,
    server_at_a_glance,
    server_row,
    store_row,
    summary_row,
)
from treescale.cli.reports.collection_report import (
    FREEING,
    RowsReading,
    freeing_rows,
    read_rows,
    state_row,
)
from treescale.cli.reports.purge_report import PURGES, purge_rows
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.cli.terminal.output import for_people
from treescale.clock import SystemClock
from treescale.cluster import admin
from treescale.cluster.advice import advice
from treescale.cluster.layout import COPIES_SETTING, Blocked, wanted_copies
from treescale.cluster.lookup import Target, resolve
from treescale.cluster.placement_report import Uncounted
from treescale.cluster.queries import StatusReading, read_status, uncounted_of
from treescale.cluster.status import ClusterStatus
from treescale.config import UNSAFE_LEASES_VARIABLE
from treescale.errors import SettingInvalid
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
)
from treescale.maintenance.stopping import Stopping
from treescale.metadata.database import Database
from treescale.metadata.records import ClusterUsage, LostData, StoreState

DRAINED: Final = (
    "What it holds moves to the others, and is read the whole time: keep it in service until "
    "`treescale cluster status` has it with 0 misplaced copies, or use --wait."
)


@click.group(cls=CommandGroup)
def cluster() -> None:
    """Look after the servers and stores."""


@cluster.command("status", short_help="Show servers, stores, copies owed, and what to do.")
@cluster_options
def status(desk: CommandContext) -> None:
    """Show servers, stores, layout and copies owed, and what to do about it."""

    async def work(
        database: Database,
    ) -> tuple[
        StatusReading, ClusterUsage, LostData, Uncounted, str, Mapping[str, str], RowsReading
    ]:
        seen = await read_status(database, SystemClock())
        taken = await Stopping(database, SystemClock(), asyncio.sleep).taken(seen.status)
        lost = await database.lost.overview(LOST_BLOBS_LISTED_MAX)
        usage = await database.repositories.cluster_usage()
        states = await database.collections.list()
        rows = await read_rows(database)
        return seen, usage, lost, await uncounted_of(database), taken, states, rows

    seen, usage, lost, uncounted, taken, states, rows = desk.run(work)
    summary = {**summary_row(seen.status, usage, lost, uncounted, taken), **state_row(rows)}
    freeing, purges = freeing_rows(rows), purge_rows(rows.purges, seen.status)
    collection = collection_rows(seen.status, states)
    missing = [lost_row(one) for one in lost.listed]
    servers = [server_row(one) for one in seen.status.servers]
    stores = [store_row(one, uncounted) for one in seen.status.stores]
    found = advice(
        seen.status,
        clock_error=seen.clock_error,
        lost=lost,
        uncounted=uncounted,
        settings=rows.unreadable,
    )
    told = [advice_row(one) for one in found]
    if desk.out.as_json:
        lists = {"servers": servers, "stores": stores, "lost": missing, "advice": told}
        lists |= {"collection": collection, "freeing": freeing, "purges": purges}
        desk.out.one(SUMMARY, {**summary, **lists})
        return
    desk.out.one(SUMMARY, summary)
    if for_people():
        pairs = zip(servers, seen.status.servers, strict=True)
        glances = [server_at_a_glance(row, one.throughput) for row, one in pairs]
        desk.out.rows(columns_at_a_glance(servers, seen.status), glances)
        desk.out.rows(STORES_AT_A_GLANCE, [at_a_glance(row) for row in stores])
    else:
        desk.out.rows(SERVERS, servers, "server")
        desk.out.rows(STORES, stores, "store")
    for columns, listed, name in (
        (FREEING, freeing, "freeing"),
        (PURGES, purges, "purge"),
        (COLLECTION, [row for row in collection if is_collecting(row)], "collection"),
        (LOST, missing, "lost"),
    ):
        if listed:
            desk.out.rows(columns, listed, name)
    if lost.links > len(missing):
        desk.out.note(f"Of {lost.links:,} lost blobs the first {len(missing)} are shown.")
    if told:
        desk.out.rows(ADVICE, told, "advice")


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
    for good.
    """
    name, equals, value = setting.partition("=")
    if (name, equals) == (COLLECTION_SETTING, "="):
        desk.run(lambda database: admin.set_collection(database, value))
        desk.out.done(f"{name} is {value} from now on.", {name: value})
        return
    if equals and name in (LEASE_SETTING, UNDELETE_SETTING, UNTAGGED_SETTING):
        unsafe = os.environ.get(UNSAFE_LEASES_VARIABLE) == "1"

        async def put(database: Database) -> float | None:
            return await admin.set_time(database, name, value, unsafe=unsafe)

        seconds = desk.run(put)
        desk.out.done(f"{name} is {value} from now on.", {name: seconds})
        return
    if (name, equals) != (COPIES_SETTING, "="):
        raise SettingInvalid(
            f"{setting!r} is nothing to set: say copies=3, undelete=7d, untagged=keep, lease=24h "
            "or collection=off"
        )

    async def work(database: Database) -> tuple[int, StatusReading]:
        copies = await admin.set_copies(database, value)
        return copies, await read_status(database, SystemClock())

    copies, seen = desk.run(work)
    desk.out.done(_copies_told(copies, seen.status), {COPIES_SETTING: copies})


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
