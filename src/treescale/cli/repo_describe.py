"""`treescale repo describe`: what a repository or a namespace says of itself."""

import sys
from pathlib import Path

import click

from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.console.route import segment
from treescale.errors import SettingInvalid
from treescale.maintenance.report.columns import Column

SHOWN = (Column("name"), Column("description", empty="-"))


@click.command("describe", short_help="Show, or set, what a repository says of itself.")
@click.argument("name", metavar="NAME|NAMESPACE")
@click.option("--file", metavar="F", help="Markdown that it says from now on; -: standard input.")
@cluster_options
def describe(desk: CommandContext, name: str, file: str | None) -> None:
    """Show what a repository, or a namespace, says of itself, or have it say something else.

    Its page shows it. Markdown, 25,000 bytes at most; an empty file has it say nothing.
    """
    path = f"/descriptions/{segment(name)}"
    if file is None:
        found = desk.ask("GET", path)
        desk.out.one(SHOWN, {"name": name, **found})
        return
    done = desk.ask("PUT", path, body={"description": _read(file)})
    told = "is described" if done["description"] else "has no description"
    desk.out.done(f"{name} {told}.", {"name": name, **done})


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingInvalid(f"cannot read {file} as --file: {why}") from None
