"""`treescale user`: accounts."""

from typing import Any

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, ask_password, cluster_options, confirm
from treescale.console.route import segment
from treescale.maintenance.report.columns import Column, Kind

COLUMNS = (
    Column("name"),
    Column("admin", Kind.FLAG),
    Column("created", Kind.TIME),
    Column("password", Kind.FLAG),
    Column("suspended", Kind.TIME, empty="-"),
)
INVITED = (
    Column("id"),
    Column("name"),
    Column("admin", Kind.FLAG),
    Column("actor"),
    Column("expires", Kind.TIME),
)
_ROLE_WORDS = 2


@click.group(cls=CommandGroup)
def user() -> None:
    """Accounts. Each owns the repositories below its name."""


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="An administrator.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--adopt", is_flag=True, help="Own what an earlier user of this name left behind.")
@cluster_options
def add(desk: CommandContext, name: str, *, admin: bool, password_stdin: bool, adopt: bool) -> None:
    """Add an account."""
    password = ask_password(from_stdin=password_stdin)

    wanted = {"name": name, "password": password, "admin": admin, "adopt": adopt}
    desk.ask("POST", "/users", body=wanted)
    desk.out.done(f"user {name} added", {"name": name, "admin": admin})


@user.command("list")
@cluster_options
def list_users(desk: CommandContext) -> None:
    """List the accounts."""
    desk.out.rows(COLUMNS, desk.pages("/users", "users"))


@user.command("remove")
@click.argument("name")
@click.option("--give-to", metavar="NAMESPACE", help="Who gets the repositories.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, name: str, *, give_to: str | None, yes: bool) -> None:
    """Remove an account and its access tokens. Its repositories stay.

    Nobody gets the name by mistake: `user add` asks for --adopt while there are any. With --give-to
    they move to another user or an organisation, as by `repo move NAME/ NAMESPACE/`: all of it
    happens, or nothing.
    """
    confirm(f"Remove the user {name} and all access tokens?", yes=yes)
    desk.ask("DELETE", _path(name), query={"give_to": give_to})
    desk.out.done(f"user {name} removed", {"name": name})


@user.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--off", is_flag=True, help="Have no password log in: a provider has to.")
@cluster_options
def password(desk: CommandContext, name: str, *, password_stdin: bool, off: bool) -> None:
    """Change a password. Access tokens stay valid; logins made with the old one do not."""
    if off:
        desk.ask("DELETE", f"{_path(name)}/password")
        desk.out.done(f"no password logs in to {name} any more", {"name": name, "password": False})
        return
    secret = ask_password(from_stdin=password_stdin)
    desk.ask("PUT", f"{_path(name)}/password", body={"password": secret})
    desk.out.done(f"password of {name} changed", {"name": name})


@user.command("suspend", short_help="Have nothing of an account count.")
@click.argument("name")
@cluster_options
def suspend(desk: CommandContext, name: str) -> None:
    """Have nothing of an account count, within a minute everywhere; it keeps all it has."""
    desk.ask("PUT", f"{_path(name)}/suspended", body={"suspended": True})
    desk.out.done(f"user {name} is suspended", {"name": name, "suspended": True})


@user.command("resume", short_help="Have a suspended account count again.")
@click.argument("name")
@cluster_options
def resume(desk: CommandContext, name: str) -> None:
    """Have a suspended account count again: password and access tokens are as they were."""
    desk.ask("PUT", f"{_path(name)}/suspended", body={"suspended": False})
    desk.out.done(f"user {name} is not suspended", {"name": name, "suspended": False})


@user.command("admin")
@click.argument("name")
@click.argument("switch", metavar="on|off", type=click.Choice(["on", "off"]))
@cluster_options
def admin_(desk: CommandContext, name: str, switch: str) -> None:
    """Make somebody an administrator, or not. One with a password is always left."""
    is_on = switch == "on"
    desk.ask("PUT", f"{_path(name)}/admin", body={"admin": is_on})
    told = "an administrator" if is_on else "no administrator"
    desk.out.done(f"user {name} is {told}", {"name": name, "admin": is_on})


@user.command("reset", short_help="Make a link to set another password with.")
@click.argument("name")
@cluster_options
def reset(desk: CommandContext, name: str) -> None:
    """Make a link with which the user sets another password, and print it: this once.

    It is good for a day, and once. The password of now stays until then.
    """
    _link(desk, desk.ask("POST", f"{_path(name)}/reset"))


@user.command("invite", short_help="Make a link to make an account with.")
@click.argument("name")
@click.option("--admin", is_flag=True, help="An administrator.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ORG:ROLE",
    help="A role that comes with it, such as acme:writer.",
)
@cluster_options
def invite(desk: CommandContext, name: str, *, admin: bool, roles: tuple[str, ...]) -> None:
    """Make a link with which somebody makes the account NAME, and print it: this once.

    It is good for a week, and once.
    """
    body = {"name": name, "admin": admin, "roles": [_role(one) for one in roles]}
    _link(desk, desk.ask("POST", "/invitations", body=body))


@user.command("invitations")
@cluster_options
def invitations(desk: CommandContext) -> None:
    """List the invitations that nobody has accepted yet."""
    desk.out.rows(INVITED, desk.pages("/invitations", "invitations"))


@user.command("uninvite")
@click.argument("invitation", metavar="ID")
@cluster_options
def uninvite(desk: CommandContext, invitation: str) -> None:
    """Have an invitation lead nowhere."""
    desk.ask("DELETE", f"/invitations/{segment(invitation)}")
    desk.out.done(f"invitation {invitation} is withdrawn", {"id": invitation})


def _link(desk: CommandContext, made: dict[str, Any]) -> None:
    """Print a link, and nothing else; where it has no host, say what to put before it."""
    desk.out.done(made["url"] or made["path"], made)
    if made["url"] is None:
        desk.out.note("Put the registry's address before it (setting public_url).")


def _role(text: str) -> dict[str, str]:
    words = text.split(":")
    if len(words) != _ROLE_WORDS or not all(words):
        raise click.UsageError(f"{text!r} is no role in an organisation: say acme:writer")
    return {"namespace": words[0], "role": words[1]}


def _path(name: str) -> str:
    return f"/users/{segment(name)}"
