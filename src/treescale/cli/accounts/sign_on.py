"""`treescale sign-on`: the providers that people sign on with (OpenID Connect)."""

import sys
from typing import Any

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.maintenance.report.columns import Column, Kind

COLUMNS = (
    Column("name"),
    Column("issuer"),
    Column("client_id"),
    Column("create"),
    Column("domains"),
    Column("required_groups"),
    Column("created", Kind.TIME),
)
_SHOWN = (
    *COLUMNS,
    Column("has_secret", Kind.FLAG),
    Column("groups_claim"),
    Column("scopes"),
    Column("redirect_uri", empty="set public_url"),
)
_GROUPS = (Column("group"), Column("organisation"), Column("role"))


@click.group("sign-on", cls=CommandGroup)
def sign_on() -> None:
    """Sign-on: the providers that people come by, in place of a password."""


@sign_on.command("add")
@click.argument("name")
@click.option("--issuer", required=True, metavar="URL", help="As its discovery document has it.")
@click.option("--client-id", required=True, metavar="ID", help="What it calls this registry.")
@click.option("--client-secret-stdin", is_flag=True, help="Read the secret from standard input.")
@click.option("--domain", "domains", multiple=True, help="Of verified addresses; any without it.")
@click.option("--groups-claim", default="groups", show_default=True, metavar="CLAIM")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP=ORG:ROLE",
    help="A role for whoever is in a group.",
)
@click.option(
    "--require-group", "required", multiple=True, metavar="GROUP", help="One of these is needed."
)
@click.option(
    "--create",
    type=click.Choice(["auto", "invite"]),
    default="auto",
    show_default=True,
    help="Who is new gets an account, or has to be invited.",
)
@click.option("--scope", "scopes", multiple=True, help="To ask for beside openid, profile, email.")
@cluster_options
def add(
    desk: CommandContext,
    name: str,
    *,
    client_secret_stdin: bool,
    scopes: tuple[str, ...],
    **given: Any,
) -> None:
    """Add a provider. People see: Sign in with NAME.

    It has to allow the redirect URL that this prints.
    """
    secret = sys.stdin.readline().rstrip("\r\n") if client_secret_stdin else None
    body = {
        "name": name,
        "issuer": given["issuer"],
        "client_id": given["client_id"],
        "client_secret": secret,
        "domains": [*given["domains"]],
        "groups_claim": given["groups_claim"],
        "groups": [_group(one) for one in given["groups"]],
        "required_groups": [*given["required"]],
        "create": given["create"],
        "scopes": ["openid", "profile", "email", *scopes],
    }
    made = desk.ask("POST", "/sign-on", body=body)
    where = made["redirect_uri"] or f"PUBLIC_URL/-/sign-on/{name}/callback"
    desk.out.done(f"People sign in with {name} now. It has to allow the redirect to {where}", made)


@sign_on.command("list")
@cluster_options
def list_(desk: CommandContext) -> None:
    """List the providers."""
    desk.out.rows(COLUMNS, desk.ask("GET", "/sign-on")["providers"])


@sign_on.command("show")
@click.argument("name")
@cluster_options
def show(desk: CommandContext, name: str) -> None:
    """Show a provider, and which groups have which roles."""
    found = desk.ask("GET", f"/sign-on/{segment(name)}")
    if desk.out.as_json:
        desk.out.one(_SHOWN, found)
        return
    desk.out.one(_SHOWN, found)
    desk.out.rows(_GROUPS, found["groups"])


@sign_on.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, name: str, *, yes: bool) -> None:
    """Remove a provider; the sessions that it vouched for end.

    Accounts, their roles and access tokens stay.
    """
    confirm(f"Have nobody sign in with {name} any more?", yes=yes)
    gone = desk.ask("DELETE", f"/sign-on/{segment(name)}")
    desk.out.done(f"Nobody signs in with {name} any more.", gone)


def _group(text: str) -> dict[str, str]:
    """Return what `GROUP=ORG:ROLE` says; the group may have any of these characters itself."""
    group, equals, given = text.rpartition("=")
    organisation, colon, role = given.partition(":")
    if not (group and equals and organisation and colon and role):
        raise click.UsageError(f"{text!r} gives no role: say GROUP=ORG:ROLE")
    return {"group": group, "organisation": organisation, "role": role}
