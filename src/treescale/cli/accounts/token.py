"""`treescale token`: access tokens, for machines and for people who mind their password."""

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.console.route import segment
from treescale.maintenance.report.columns import Column, Kind

COLUMNS = (
    Column("id"),
    Column("name"),
    Column("allow"),
    Column("repository"),
    Column("created", Kind.TIME),
    Column("expires", Kind.TIME, empty="never"),
    Column("last_used", Kind.TIME, empty="never"),
)


@click.group(cls=CommandGroup)
def token() -> None:
    """Access tokens: `docker login` takes one in place of the password."""


@token.command("create")
@click.argument("user")
@click.option("--name", required=True, metavar="LABEL", help="What it is for, for the list.")
@click.option(
    "--allow",
    default="pull,push",
    show_default=True,
    metavar="RIGHTS",
    help="Of pull,push,delete; or, for no repository, of metrics,events,api.",
)
@click.option(
    "--repository",
    default="*",
    show_default=True,
    metavar="GLOB",
    help="On which names; * is any text.",
)
@click.option(
    "--expires",
    default="90d",
    show_default=True,
    metavar="TIME",
    help="30m, 12h, 90d, 2w, 1y or none.",
)
@cluster_options
def create(
    desk: CommandContext, user: str, *, name: str, allow: str, repository: str, expires: str
) -> None:
    """Create an access token and print it: this once, and nothing else."""
    wanted = {
        "name": name,
        "user": user,
        "allow": allow.split(","),
        "repository": repository,
        "expires": expires,
    }
    made = desk.ask("POST", "/tokens", body=wanted)
    desk.out.done(made["secret"], {"token": made["secret"], **made["token"]})


@token.command("list")
@click.argument("user")
@cluster_options
def list_tokens(desk: CommandContext, user: str) -> None:
    """List a user's access tokens, oldest first."""
    desk.out.rows(COLUMNS, desk.pages("/tokens", "tokens", query={"user": user}))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@cluster_options
def revoke(desk: CommandContext, token_id: str) -> None:
    """Void an access token. It stops working everywhere within a minute."""
    desk.ask("DELETE", f"/tokens/{segment(token_id)}")
    desk.out.done(f"token {token_id} revoked", {"id": token_id})
