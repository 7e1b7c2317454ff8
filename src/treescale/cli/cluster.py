"""`treescale cluster`: see the servers and stores, say what becomes of them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import click

from treescale.cli.may_stop import may_stop
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import Asking, CommandContext, cluster_options, confirm
from treescale.cli.terminal.output import for_people
from treescale.console.route import segment
from treescale.errors import NameUnknown, SettingInvalid
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

POLL_SECONDS: Final = 2.0


@click.group(cls=CommandGroup)
def cluster() -> None:
    """Look after the servers and stores."""


@cluster.command("status", short_help="Show servers, stores, copies owed, and what to do.")
@cluster_options
def status(desk: CommandContext) -> None:
    """Show servers, stores, layout and copies owed, and what to do about it."""
    if desk.server is not None:
        _show_remote(desk, desk.ask("GET", "/cluster"))
        return
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
    _show_lists(desk, lists)
    missing, links = len(lists["lost"]), report.lost.links
    if links > missing:
        desk.out.note(f"Of {links:,} lost blobs the first {missing} are shown.")
    if lists["advice"]:
        desk.out.rows(ADVICE, lists["advice"], "advice")


def _show_remote(desk: CommandContext, seen: dict[str, Any]) -> None:
    """Show what a server says of the cluster; what its disks' room is it has from all servers."""
    if desk.out.as_json:
        desk.out.one(SUMMARY, seen)
        return
    desk.out.one(SUMMARY, seen)
    desk.out.rows(SERVERS, seen["servers"], "server")
    if for_people():
        desk.out.rows(STORES_AT_A_GLANCE, [at_a_glance(row) for row in seen["stores"]])
    else:
        desk.out.rows(STORES, seen["stores"], "store")
    _show_lists(desk, seen)
    if seen["advice"]:
        desk.out.rows(ADVICE, seen["advice"], "advice")


def _show_lists(desk: CommandContext, lists: Mapping[str, Any]) -> None:
    """Show what is out of the ordinary."""
    collection = [row for row in lists["collection"] if is_collecting(row)]
    for columns, listed, name in (
        (FREEING, lists["freeing"], "freeing"),
        (PURGES, lists["purges"], "purge"),
        (COLLECTION, collection, "collection"),
        (LOST, lists["lost"], "lost"),
    ):
        if listed:
            desk.out.rows(columns, listed, name)


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
    if not equals:
        raise _nothing_to_set(setting)
    try:
        done = desk.ask("PUT", f"/cluster/settings/{segment(name)}", body={"value": value})
    except NameUnknown:
        raise _nothing_to_set(setting) from None
    desk.out.done(done["told"], done["result"])
    for note in done["notes"]:
        desk.out.note(note)


def _nothing_to_set(setting: str) -> SettingInvalid:
    return SettingInvalid(
        f"{setting!r} is nothing to set: say copies=3, undelete=7d, untagged=keep, lease=24h, "
        "collection=off, events=30d, audit=1y, events-pulls=off, read_only=on, hooks=off, "
        "hook-networks=10.0.0.0/8, issuer-networks=10.0.0.0/8, anonymous=off, passwords=off, "
        "quota=50GB, repositories-max=100, tags-max=1000, requests-max=6000 or pulls-max=600"
    )


@cluster.command("drain")
@click.argument("target", metavar="SERVER|STORE")
@click.option("--wait", is_flag=True, help="Return when it holds nothing any more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def drain(desk: CommandContext, target: str, *, wait: bool, yes: bool) -> None:
    """Move what it holds to the others, and home no new chunks there.

    SERVER is a name, an address or an id; STORE an id, a path or SERVER:PATH.
    """
    path = _path(target)
    if (question := desk.ask("GET", path)["fewer_copies"]) is not None:
        confirm(question, yes=yes)

    async def work(api: Asking) -> dict[str, Any]:
        done: dict[str, Any] = await api.ask("POST", f"{path}/drain")
        told = ""
        if not wait:
            return done
        while left := (await api.ask("GET", f"{path}/waiting"))["waiting"]:
            if (text := "; ".join(left)) != told:
                told = text
                _aside(text)
            await asyncio.sleep(POLL_SECONDS)
        emptied: dict[str, Any] = await api.ask("POST", f"{path}/drain")
        return emptied

    done = desk.asking(work)
    desk.out.done(done.pop("told"), done)


@cluster.command("undrain")
@click.argument("target", metavar="SERVER|STORE")
@cluster_options
def undrain(desk: CommandContext, target: str) -> None:
    """Home chunks there again: takes a drain back."""
    done = desk.ask("POST", f"{_path(target)}/undrain")
    row = {key: done[key] for key in ("target", "stores", "state")}
    desk.out.done(done["told"], row)


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
    path = _path(target)
    label = desk.ask("GET", path)["target"]
    confirm(f"Forget {label} for good?", yes=yes)
    done = desk.ask("POST", f"{path}/forget", body={"lost": lost})
    desk.out.done(
        f"{label} is forgotten; copies that it was owed: {done['debts_struck']:,}. The layout "
        "follows within seconds, or when the first server starts.",
        done,
    )


def _path(target: str) -> str:
    return f"/cluster/targets/{segment(target)}"


def _aside(text: str) -> None:
    """Tell people, not those who read the answer."""
    click.echo(text, err=True)
