"""`treescale fsck`: whether everything is there, from the database to the bytes."""

import click

from treescale.cli.reports.job_report import carry_out, leave, tell
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.maintenance.planning.findings import Kind


@click.command("fsck")
@click.option("--quick", is_flag=True, help="Look at names alone, and read no bytes.")
@click.option("--repair", "first_repair", is_flag=True, help="Repair first, then look.")
@cluster_options
def fsck(desk: CommandContext, *, quick: bool, first_repair: bool) -> None:
    """Say whether every chunk that is referred to is there, in all copies, with the right bytes.

    Exit status: 0 whole, 3 copies are missing or stores could not be asked, 1 something is lost or
    rotten, 2 a wrong command line. A rotten copy goes to quarantine, and is replaced soon.
    """
    if first_repair:
        carry_out(desk, Kind.REPAIR)
    ended = carry_out(desk, Kind.CHECK if quick else Kind.CHECK_BYTES)
    tell(desk, ended)
    leave(ended)
