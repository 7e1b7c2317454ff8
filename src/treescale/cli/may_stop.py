"""`treescale cluster may-stop`: one server at a time gets the permission to stop."""

import asyncio
from pathlib import Path

import click

from treescale.chunks.disk.syscalls import Disk
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.clock import SystemClock
from treescale.cluster.identity import read_identity
from treescale.config import Settings
from treescale.errors import SettingInvalid
from treescale.maintenance.planning.findings import Verdict
from treescale.maintenance.stopping import AGAIN_SECONDS, Permission, Stopping
from treescale.metadata.database import Database


@click.command("may-stop", short_help="Get the permission to stop one server.")
@click.argument("name", metavar="[SERVER]", required=False, default="")
@click.option("--wait", is_flag=True, help="Return when it may be stopped.")
@click.option("--release", is_flag=True, help="Give the permission back.")
@cluster_options
def may_stop(desk: CommandContext, name: str, *, wait: bool, release: bool) -> None:
    """Get the permission to stop SERVER, so that everything can be pulled on.

    One server has it at a time, until it is back and the cluster is whole, for ten minutes at most.
    SERVER is a name, an address or an id; the one whose --data this is if there is none. Exit
    status: 0 it may be stopped now, 3 it has to wait.
    """

    async def work(database: Database) -> Permission:
        stopping = Stopping(database, SystemClock(), asyncio.sleep)
        server_id = await stopping.find(name) if name else _here(desk.loaded.settings)
        if release:
            await stopping.give_back(server_id)
            return Permission(granted=False, text="The permission is given back.")
        told = ""
        while True:
            permission = await stopping.ask(server_id)
            if permission.granted or not wait:
                return permission
            if permission.text != told:
                told = permission.text
                click.echo(told, err=True)
            await asyncio.sleep(AGAIN_SECONDS)

    found = desk.run(work)
    desk.out.done(found.text, {"may_stop": found.granted, "reason": found.text})
    if not (found.granted or release):
        click.get_current_context().exit(int(Verdict.UNDER_REPLICATED))


def _here(settings: Settings) -> str:
    """Return the id of the server whose data directories are here; raises SettingInvalid."""
    for path in settings.data:
        if (identity := read_identity(Path(path), Disk())) is not None:
            return identity.server_id
    raise SettingInvalid(
        f"no server has its data in {', '.join(settings.data)}: say which is meant, "
        "`treescale cluster may-stop SERVER`"
    )
