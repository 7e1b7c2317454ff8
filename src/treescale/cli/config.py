"""`treescale config`: what is in force."""

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.config import shown
from treescale.maintenance.report.columns import Column

COLUMNS = (Column("key"), Column("value"), Column("source"))


@click.group(cls=CommandGroup)
def config() -> None:
    """Look at the settings: flags over TREESCALE_… variables over a TOML file."""


@config.command("show")
@cluster_options
def show(desk: CommandContext) -> None:
    """Show each setting, its value and where that came from. Passwords are not shown."""
    desk.check_here()
    values = shown(desk.loaded.settings)
    sources = desk.loaded.sources
    rows = [{"key": key, "value": values[key], "source": sources[key]} for key in sources]
    desk.out.rows(COLUMNS, rows)
