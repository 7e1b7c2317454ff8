"""The command: what is looked at, how it is told, and the exit status."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Final

import click

from treescale.cli.doctor.backup import backup
from treescale.cli.doctor.certificate import certificate
from treescale.cli.doctor.database import database
from treescale.cli.doctor.disks import directory, unmounted
from treescale.cli.doctor.finding import EXIT_STATUS, Look, look_at_all, worst
from treescale.cli.doctor.machine import addresses, file_limit, port
from treescale.cli.doctor.peers import peers
from treescale.cli.serve import serve
from treescale.cli.terminal.output import Output
from treescale.cli.terminal.typed import typed
from treescale.config import Settings, load
from treescale.log import configure_logging
from treescale.maintenance.report.columns import Column

COLUMNS: Final = (Column("check"), Column("state"), Column("found"), Column("advice"))
_ONLY_SERVE: Final = frozenset({"forget_chunks", "leave_database"})
_OPTIONS: Final = [each for each in serve.params if each.name not in _ONLY_SERVE]
_JSON: Final = click.Option(["--json", "as_json"], is_flag=True, help="Answer in JSON.")


def looks(settings: Settings) -> Iterator[Look]:
    """Yield what is looked at: another look is another line here."""
    for flag, text in addresses(settings):
        yield Look(f"{flag} {text}", partial(port, flag, text))
    yield Look("open files", file_limit)
    paths = () if settings.no_store else settings.data
    for path in paths:
        yield Look(f"data {path}", partial(directory, path), seconds=20.0)
    yield Look("stores", partial(unmounted, paths))
    yield Look("certificate", partial(certificate, settings))
    yield Look("database", partial(database, settings))
    yield Look("backup", partial(backup, settings))
    yield Look("servers", partial(peers, settings), seconds=15.0)


@click.command("doctor", params=[*_OPTIONS, _JSON])
def doctor(config: str | None, *, as_json: bool, **flags: object) -> None:
    """Look for what usually goes wrong, and say what to do about each.

    Takes the flags of `serve`, and works whether a server runs or not. Nothing that it writes
    stays. Exit status: 0 all is well, 3 there are warnings, 1 something is broken, 2 a wrong
    command line.
    """
    loaded = load(flags, os.environ, config=config)
    said = typed(loaded)
    click.get_current_context().find_root().obj = said
    configure_logging(json=True, level="critical")  # what goes wrong is in the answer
    found = look_at_all([*looks(loaded.settings)])
    rows = [{"check": row.pop("name"), **row} for row in map(asdict, found)]
    Output(as_json=as_json, typed=said).rows(COLUMNS, rows)
    click.get_current_context().exit(EXIT_STATUS[worst(found)])
