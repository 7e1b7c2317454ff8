"""`treescale user`: accounts."""

import click

from treescale.auth.passwords import Passwords
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, ask_password, cluster_options, confirm
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.database import Database
from treescale.registry.accounts import accounts_of, check_unclaimed

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

    async def work(database: Database) -> None:
        if not adopt:
            await check_unclaimed(database, name)
        await (await accounts_of(database, Passwords())).add_user(
            name, password, admin=admin, actor=cli_actor()
        )

    desk.run(work)
    desk.out.done(f"user {name} added", {"name": name, "admin": admin})


@user.command("list")
@cluster_options
def list_users(desk: CommandContext) -> None:
    """List the accounts."""

    async def work(database: Database) -> list[Row]:
        return [
            {"name": one.name, "admin": one.admin, "created": time(one.created)}
            async for one in (await accounts_of(database, Passwords())).list_users()
        ]

    desk.out.rows(COLUMNS, desk.run(work))


@user.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, name: str, *, yes: bool) -> None:
    """Remove an account and its access tokens. Its repositories stay.

    Nobody gets the name by mistake: `user add` asks for --adopt while there are any.
    """
    confirm(f"Remove the user {name} and all access tokens?", yes=yes)

    async def work(database: Database) -> None:
        await (await accounts_of(database, Passwords())).remove_user(name, actor=cli_actor())

    desk.run(work)
    desk.out.done(f"user {name} removed", {"name": name})


@user.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@cluster_options
def password(desk: CommandContext, name: str, *, password_stdin: bool) -> None:
    """Change a password. Access tokens stay valid; logins made with the old one do not."""
    secret = ask_password(from_stdin=password_stdin)

    async def work(database: Database) -> None:
        await (await accounts_of(database, Passwords())).set_password(
            name, secret, actor=cli_actor()
        )

    desk.run(work)
    desk.out.done(f"password of {name} changed", {"name": name})
