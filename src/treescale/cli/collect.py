"""`treescale collect`: space comes back now, or what would be freed is shown."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import click
import msgspec

from treescale.cli.purge import purge
from treescale.cli.reports.job_report import NOT_ASKED, Ended, carry_out, followed_there
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.errors import SettingInvalid
from treescale.lease_times import COLLECTION_SETTING, FROZEN, unreadable_collection
from treescale.maintenance.planning import findings
from treescale.maintenance.planning.findings import Findings, Going, unpacked
from treescale.maintenance.report.collection_report import (
    DUE,
    TAKEN,
    RowsTold,
    collect_rows,
    read_due,
)
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.metadata.database import Database

GOING_SHOWN_MAX: Final = 20
"""Chunks that people are shown of what would go; scripts see more."""
PAUSED: Final = 3
"""The exit status when a store takes nothing away, or could not be asked."""

_WOULD: Final = (
    Column("looked", Kind.COUNT),
    Column("orphans", Kind.COUNT),
    Column("orphan_bytes", Kind.BYTES),
    Column("waiting", Kind.COUNT),
    Column("waiting_bytes", Kind.BYTES),
)
_DID: Final = (
    *_WOULD,
    Column("removed", Kind.COUNT),
    Column("removed_bytes", Kind.BYTES),
    Column("dropped", Kind.COUNT),
)
_GOING: Final = (
    Column("size", Kind.BYTES),
    Column("chunk", Kind.ID),
    Column("store", Kind.ID),
    Column("why"),
)
_COUNTS: Final = (*[column.key for column in _DID], "paused")


@click.command("collect")
@click.option("--dry-run", is_flag=True, help="Say what would go and why, and take nothing away.")
@click.option("--resume", is_flag=True, help="Once, also more than a fifth of a store.")
@click.option("--after-restore", is_flag=True, help="Lift the freeze of a restored database.")
@click.option(
    "--purge",
    "purged",
    metavar="NAME[:TAG|@DIGEST]",
    help="Take what was deleted there away for good, at once, from every store.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def collect(
    desk: CommandContext,
    *,
    dry_run: bool,
    resume: bool,
    after_restore: bool,
    purged: str | None,
    yes: bool,
) -> None:
    """Take away, now, what nothing needs: rows first, then the files that no row names.

    Files go to the trash, and the trash is emptied of what is old. Servers do so by themselves, of
    rows every minute, of files every hour. Exit status: 0 done, 3 when rows or a store are left
    alone for a reason that is told, or a store could not be asked.

    With --purge what was deleted there, and can be restored, is gone at once, from trash and
    quarantine as well; what other images have stays. Exit status: 0 gone, 1 when stores are away,
    which unlink it before they serve again.
    """
    if dry_run + resume + after_restore + (purged is not None) > 1:
        raise click.UsageError("say one of --dry-run, --resume, --after-restore and --purge")
    if purged is not None:
        purge(desk, purged, yes=yes)
        return
    if after_restore:
        _lift(desk, yes=yes)
        return
    kind = findings.Kind.COLLECT_RESUME if resume else findings.Kind.COLLECT
    desk.out.note("Rows first: what was deleted, and what nothing needs.")
    if desk.server is not None:
        kind = findings.Kind.COLLECT_CHECK if dry_run else kind
        begun = desk.ask("POST", "/jobs", body={"kind": kind.value})
        _close(desk, followed_there(desk, kind, begun), _rows_there(begun), would=dry_run)
        return
    rows = desk.run(read_due) if dry_run else desk.run(partial(collect_rows, resume=resume))
    ended = carry_out(desk, findings.Kind.COLLECT_CHECK if dry_run else kind)
    _close(desk, ended, rows, would=dry_run)


def _close(desk: CommandContext, ended: Ended, rows: RowsTold, *, would: bool) -> None:
    """Say what came of it, and end with the status that says so."""
    _tell(desk, ended, rows, would=would)
    left = ended.outcome.findings.paused or ended.outcome.unasked or rows.pause
    click.get_current_context().exit(PAUSED if left else 0)


def _rows_there(begun: Mapping[str, Any]) -> RowsTold:
    """Return what a server says of the rows."""
    return RowsTold(begun["rows_paused"], begun["rows"], begun["rows_due"])


def _lift(desk: CommandContext, *, yes: bool) -> None:
    """Say what would go, and lift the freeze; raises SettingInvalid when there is none."""

    async def look(database: Database) -> str | None:
        return await database.settings.get(COLLECTION_SETTING)

    said = desk.run(look)
    for setting in unreadable_collection(said):
        raise SettingInvalid(f"{setting.why}; {setting.mended_by} sets it")
    if said != FROZEN:
        raise SettingInvalid("collection is not frozen: there is nothing to lift")
    rows = desk.run(read_due)
    ended = carry_out(desk, findings.Kind.COLLECT_CHECK)
    if not desk.out.as_json:
        _tell(desk, ended, rows, would=True)
    confirm("Is this the right database, and may all that it does not name go?", yes=yes)

    async def lift(database: Database) -> None:
        await database.settings.change(COLLECTION_SETTING, None, actor=cli_actor())

    desk.run(lift)
    desk.out.done("Collection goes on: servers follow within the hour.", _row(ended, rows))


def _tell(desk: CommandContext, ended: Ended, rows: RowsTold, *, would: bool) -> None:
    """Say what came of it: rows, the sum, each store, the biggest, and why some did nothing."""
    row = _row(ended, rows)
    if desk.out.as_json:
        desk.out.one((), row)
        return
    if rows.due:
        desk.out.rows(DUE, rows.due[:GOING_SHOWN_MAX], "row")
    if not would:
        desk.out.rows(TAKEN, [rows.taken], "rows")
    columns = _WOULD if would else _DID
    desk.out.one(columns, row)
    places = (Column("store", Kind.ID), Column("where"))
    desk.out.rows((*places, *columns), _stores(ended), "store")
    going = _going(ended)
    if would and going:
        desk.out.rows(_GOING, going[:GOING_SHOWN_MAX], "going")
    unasked = _unasked(ended)
    if unasked:
        desk.out.rows(NOT_ASKED, unasked, "not_asked")
    if rows.pause is not None:
        desk.out.note(f"No rows are taken away: {rows.pause}.")
    for reason in ended.outcome.findings.reasons:
        desk.out.note(f"Nothing is taken away: {reason}.")


def _row(ended: Ended, rows: RowsTold) -> dict[str, object]:
    return {
        "rows": {**rows.taken, "paused": rows.pause},
        "rows_due": list(rows.due),
        "job": ended.outcome.job_id,
        "kind": ended.kind.value,
        **_counted(ended.outcome.findings),
        "reasons": ended.outcome.findings.reasons,
        "stores": _stores(ended),
        "going": _going(ended),
        "not_asked": _unasked(ended),
    }


def _counted(found: Findings) -> Mapping[str, object]:
    return {name: getattr(found, name) for name in _COUNTS}


def _stores(ended: Ended) -> list[Row]:
    labels = ended.outcome.labels
    return [
        {
            "store": part.store_id,
            "where": labels.get(part.store_id, part.store_id),
            **_counted(unpacked(part.problems)),
        }
        for part in ended.outcome.parts
    ]


def _going(ended: Ended) -> list[Row]:
    """Return the biggest chunks that would go, or have gone, and why."""
    going: Sequence[Going] = sorted(ended.outcome.findings.going, reverse=True)
    return [
        {**msgspec.structs.asdict(one), "why": f"in no row; last put {one.age // 3600} h ago"}
        for one in going
    ]


def _unasked(ended: Ended) -> list[Row]:
    return [
        {"store": each.store_id, "where": each.label, "why": each.why}
        for each in ended.outcome.unasked
    ]
