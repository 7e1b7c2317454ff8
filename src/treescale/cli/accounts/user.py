"""`treescale user`: accounts."""

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, ask_password, cluster_options, confirm
from treescale.console.route import segment
from treescale.maintenance.report.columns import Column, Kind

COLUMNS = (Column("name"), Column("admin", Kind.FLAG), Column("created", Kind.TIME))


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
    they move to another user or an organisation first, as `repo move NAME/ NAMESPACE/` does.
    """
    confirm(f"Remove the user {name} and all access tokens?", yes=yes)
    desk.ask("DELETE", _path(name), query={"give_to": give_to})
    desk.out.done(f"user {name} removed", {"name": name})


@user.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@cluster_options
def password(desk: CommandContext, name: str, *, password_stdin: bool) -> None:
    """Change a password. Access tokens stay valid; logins made with the old one do not."""
    secret = ask_password(from_stdin=password_stdin)
    desk.ask("PUT", f"{_path(name)}/password", body={"password": secret})
    desk.out.done(f"password of {name} changed", {"name": name})


def _path(name: str) -> str:
    return f"/users/{segment(name)}"
