"""`treescale repair` and `treescale verify`: what the walk does by itself, now and watched."""

import click

from treescale.cli.reports.job_report import carry_out, leave, tell
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.maintenance.planning.findings import Kind


@click.command("repair")
@click.option("--dry-run", is_flag=True, help="Say what is to be moved, and move nothing.")
@cluster_options
def repair(desk: CommandContext, *, dry_run: bool) -> None:
    """Make the copies that are missing, and trim those that lie elsewhere, now.

    Servers do so by themselves; this has them look at everything at once, and waits. Exit status: 0
    nothing is left to do, 3 something is, or a store could not be asked, 1 chunks are lost.
    """
    ended = carry_out(desk, Kind.CHECK if dry_run else Kind.REPAIR)
    tell(desk, ended, plan=dry_run)
    if not dry_run:
        leave(ended)


@click.command("verify")
@cluster_options
def verify(desk: CommandContext) -> None:
    """Read back every copy now, and replace what is bad or missing.

    Servers read back everything once in a week. Exit status as of `repair`: 0 also when bad copies
    were found and replaced.
    """
    ended = carry_out(desk, Kind.VERIFY)
    tell(desk, ended)
    leave(ended)
