"""`treescale cluster`: see the servers and stores, say what becomes of them."""

import asyncio
from typing import Final

import click

from treescale.cli.clusterstatus import (
    ADVICE,
    SERVERS,
    SERVERS_AT_A_GLANCE,
    STORES,
    STORES_AT_A_GLANCE,
    SUMMARY,
    advice_row,
    at_a_glance,
    server_at_a_glance,
    server_row,
    store_row,
    summary_row,
)
from treescale.cli.nearest import Nearest
from treescale.cli.options import Desk, cluster_options, confirm
from treescale.cli.output import for_people
from treescale.clock import SystemClock
from treescale.errors import SettingInvalid
from treescale.metadata.protocols import Database
from treescale.metadata.records import ClusterUsage, StoreState
from treescale.upkeep import leaving
from treescale.upkeep.advice import advice
from treescale.upkeep.members import COPIES_SETTING, Held
from treescale.upkeep.overview import Overview
from treescale.upkeep.survey import Survey, survey
from treescale.upkeep.targets import Target, find

DRAINED: Final = (
    "New chunks are not homed there any more; what it holds stays on it and is read. This version "
    "moves no chunks away: keep it in service."
)


@click.group(cls=Nearest)
def cluster() -> None:
    """Look after the servers and stores."""


@cluster.command("status", short_help="Show servers, stores, copies owed, and what to do.")
@cluster_options
def status(desk: Desk) -> None:
    """Show servers, stores, layout and copies owed, and what to do about it."""

    async def work(database: Database) -> tuple[Survey, ClusterUsage]:
        return await survey(database, SystemClock()), await database.repositories.cluster_usage()

    seen, usage = desk.run(work)
    summary = summary_row(seen.overview, usage)
    servers = [server_row(one) for one in seen.overview.servers]
    stores = [store_row(one) for one in seen.overview.stores]
    told = [advice_row(one) for one in advice(seen.overview, clock_error=seen.clock_error)]
    if desk.out.as_json:
        lists = {"servers": servers, "stores": stores, "advice": told}
        desk.out.one(SUMMARY, {**summary, **lists})
        return
    desk.out.one(SUMMARY, summary)
    if for_people():
        desk.out.rows(
            SERVERS_AT_A_GLANCE,
            [
                server_at_a_glance(row, one.throughput)
                for row, one in zip(servers, seen.overview.servers, strict=True)
            ],
        )
        desk.out.rows(STORES_AT_A_GLANCE, [at_a_glance(row) for row in stores])
    else:
        desk.out.rows(SERVERS, servers, "server")
        desk.out.rows(STORES, stores, "store")
    if told:
        desk.out.rows(ADVICE, told, "advice")


@cluster.command("set")
@click.argument("setting", metavar="copies=NUMBER")
@cluster_options
def set_(desk: Desk, setting: str) -> None:
    """Say how many copies of each new chunk there are to be: copies=3.

    The default is 3, or the number of servers when there are fewer.
    """
    name, equals, value = setting.partition("=")
    if (name, equals) != (COPIES_SETTING, "="):
        raise SettingInvalid(f"{setting!r} is nothing to set: say copies=3, or another number")

    async def work(database: Database) -> tuple[int, Survey]:
        copies = await leaving.set_copies(database, value)
        return copies, await survey(database, SystemClock())

    copies, seen = desk.run(work)
    desk.out.done(_copies_told(copies, seen.overview), {COPIES_SETTING: copies})


@cluster.command("drain")
@click.argument("target", metavar="SERVER|STORE")
@click.option("--wait", is_flag=True, help="Return when it is in the layout no more.")
@cluster_options
def drain(desk: Desk, target: str, *, wait: bool) -> None:
    """Home no new chunks there. What it holds stays on it and is read.

    SERVER is a name, an address or an id; STORE an id, a path or SERVER:PATH.
    """

    async def work(database: Database) -> tuple[Target, Survey]:
        clock = SystemClock()
        found = await _find(database, target)
        await leaving.set_state(database, found, StoreState.DRAINING)
        if wait:
            ids = found.store_ids
            await leaving.wait_until_out(database, ids, clock, asyncio.sleep, _aside)
        return found, await survey(database, clock)

    found, seen = desk.run(work)
    inside = _inside(found, seen.overview)
    held = sorted({why for name, why in seen.overview.held.items() if name in inside})
    desk.out.done(
        " ".join(
            [
                f"{found.label} is draining.",
                *_layout_told(inside, held),
                *_fewer(seen.overview),
                DRAINED,
            ]
        ),
        {**_row(found, StoreState.DRAINING), "in_layout": bool(inside), "held": held},
    )


@cluster.command("undrain")
@click.argument("target", metavar="SERVER|STORE")
@cluster_options
def undrain(desk: Desk, target: str) -> None:
    """Home chunks there again: takes a drain back."""

    async def work(database: Database) -> Target:
        found = await _find(database, target)
        await leaving.set_state(database, found, StoreState.ACTIVE)
        return found

    found = desk.run(work)
    told = f"{found.label} is active: it is in the layout again seconds after it is heard of."
    desk.out.done(told, _row(found, StoreState.ACTIVE))


@cluster.command("forget")
@click.argument("target", metavar="SERVER|STORE")
@click.option("--lost", is_flag=True, help="Also when the last copies of something go with it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def forget(desk: Desk, target: str, *, lost: bool, yes: bool) -> None:
    """Strike off what will never come back, and what it was owed.

    SERVER is a name, an address or an id; STORE an id, a path or SERVER:PATH. Stop it first, and
    wait 15 s if it was killed.
    """

    async def look(database: Database) -> Target:
        return await _find(database, target)

    found = desk.run(look)
    confirm(f"Forget {found.label} for good?", yes=yes)

    async def work(database: Database) -> int:
        return await leaving.forget(database, found, lost=lost)

    struck = desk.run(work)
    desk.out.done(
        f"{found.label} is forgotten; copies that it was owed: {struck:,}. The layout follows "
        "within seconds, or when the first server starts.",
        {"forgotten": found.label, "stores": list(found.store_ids), "debts_struck": struck},
    )


async def _find(database: Database, word: str) -> Target:
    servers, stores = await database.servers.list(), await database.stores.list()
    creditors = [debt.store_id for debt in await database.owed.summary()]
    return find(word, servers, stores, creditors)


def _copies_told(copies: int, seen: Overview) -> str:
    """Return what happens now."""
    now = "no layout yet" if seen.layout is None else f"{seen.layout.copies} in the present layout"
    told = [f"{copies} copies of each chunk are asked for ({now})."]
    if seen.layout_due:
        told.append("The layout follows within seconds, or when the first server starts.")
    told.append(
        "It is for what is pushed from then on: this version makes no copies of what is there, "
        "and removes none."
    )
    return " ".join(told)


def _layout_told(inside: set[str], held: list[Held]) -> list[str]:
    if held:
        return [f"It is in the layout still: {'; '.join(held)}."]
    if inside:
        return ["It leaves the layout within seconds, or when the first server starts."]
    return ["It is not in the layout."]


def _fewer(seen: Overview) -> list[str]:
    """Return what must be known when draining leaves fewer servers than there were copies."""
    if seen.layout is None or seen.copies_wanted >= seen.layout.copies:
        return []
    now, then = seen.layout.copies, seen.copies_wanted
    told = (
        f"Of new chunks there are {then} copies then instead of {now}, for fewer servers are left: "
        f"`treescale cluster set copies={now}` keeps it in the layout until others take its part."
    )
    return [told]


def _inside(target: Target, seen: Overview) -> set[str]:
    """Return which of its stores are in the layout in force."""
    if seen.layout is None:
        return set()
    return {label.store_id for label in seen.layout.stores}.intersection(target.store_ids)


def _row(target: Target, state: StoreState) -> dict[str, object]:
    return {"target": target.label, "stores": list(target.store_ids), "state": state.value}


def _aside(text: str) -> None:
    """Tell people, not those who read the answer."""
    click.echo(text, err=True)
