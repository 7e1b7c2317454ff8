"""`treescale token`: access tokens, for machines and for people who mind their password."""

import click

from treescale.auth.passwords import Passwords
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.database import Database
from treescale.metadata.records import AccessToken
from treescale.registry.accounts import TokenTerms, accounts_of, parse_allow, parse_duration

COLUMNS = (
    Column("id"),
    Column("name"),
    Column("allow"),
    Column("repository"),
    Column("created", Kind.TIME),
    Column("expires", Kind.TIME, empty="never"),
    Column("last_used", Kind.TIME, empty="never"),
)
RIGHTS = ("pull", "push", "delete", "metrics", "events", "api")


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
    terms = TokenTerms(name, parse_allow(allow), repository, parse_duration(expires))

    async def work(database: Database) -> tuple[str, AccessToken]:
        return await (await accounts_of(database, Passwords())).create_token(
            user, terms, actor=cli_actor()
        )

    text, made = desk.run(work)
    desk.out.done(text, {"token": text, **_row(made)})


@token.command("list")
@click.argument("user")
@cluster_options
def list_tokens(desk: CommandContext, user: str) -> None:
    """List a user's access tokens, oldest first."""

    async def work(database: Database) -> list[AccessToken]:
        return await (await accounts_of(database, Passwords())).list_tokens(user)

    desk.out.rows(COLUMNS, [_row(one) for one in desk.run(work)])


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@cluster_options
def revoke(desk: CommandContext, token_id: str) -> None:
    """Void an access token. It stops working everywhere within a minute."""

    async def work(database: Database) -> None:
        await (await accounts_of(database, Passwords())).revoke_token(token_id, actor=cli_actor())

    desk.run(work)
    desk.out.done(f"token {token_id} revoked", {"id": token_id})


def _row(one: AccessToken) -> Row:
    return {
        "id": one.token_id,
        "user": one.user,
        "name": one.label,
        "allow": [right for right in RIGHTS if right in one.allow],
        "repository": one.repository,
        "created": time(one.created),
        "expires": time(one.expires),
        "last_used": time(one.last_used),
    }
