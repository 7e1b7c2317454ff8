"""`treescale config`: what is in force."""

import click

from treescale.cli.nearest import Nearest
from treescale.cli.options import Desk, cluster_options
from treescale.cli.output import Column
from treescale.config import shown

COLUMNS = (Column("key"), Column("value"), Column("source"))


@click.group(cls=Nearest)
def config() -> None:
    """Look at the settings: flags over TREESCALE_… variables over a TOML file."""


@config.command("show")
@cluster_options
def show(desk: Desk) -> None:
    """Show each setting, its value and where that came from. Passwords are not shown."""
    values = shown(desk.loaded.settings)
    sources = desk.loaded.sources
    rows = [{"key": key, "value": values[key], "source": sources[key]} for key in sources]
    desk.out.rows(COLUMNS, rows)
