"""`treescale org`: organisations, and roles in them or in a user's namespace."""

import click

from treescale.auth.roles import EVERY_REPOSITORY, Role
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.errors import Forbidden, SettingInvalid
from treescale.maintenance.report.columns import Column, Kind

LISTED = (Column("name"), Column("visibility"), Column("created", Kind.TIME, empty="-"))
SUMMARY = (Column("name"), Column("kind"), Column("visibility"), Column("created", Kind.TIME))
MEMBERS = (
    Column("user"),
    Column("role"),
    Column("repository"),
    Column("since", Kind.TIME),
)
VISIBILITY = "visibility"
_REPOSITORY = click.option(
    "--repository", metavar="GLOB", help="For repositories that match, such as NAME/web-*."
)


@click.group(cls=CommandGroup)
def org() -> None:
    """Organisations: who shares a namespace, and what each may do there."""


@org.command("add")
@click.argument("name")
@click.option("--owner", required=True, metavar="USER", help="Who owns it first.")
@cluster_options
def add(desk: CommandContext, name: str, owner: str) -> None:
    """Make an organisation. Its repositories are NAME/…, private until somebody opens them."""
    desk.ask("POST", "/organisations", body={"name": name, "owner": owner})
    desk.out.done(
        f"The organisation {name} is made, and {owner} owns it. "
        f"`treescale org grant {name} USER writer` lets somebody push.",
        {"name": name, "owner": owner},
    )


@org.command("list")
@cluster_options
def list_(desk: CommandContext) -> None:
    """List the organisations."""
    desk.out.rows(LISTED, desk.pages("/organisations", "organisations"))


@org.command("show", short_help="Show who has which role there.")
@click.argument("name")
@cluster_options
def show(desk: CommandContext, name: str) -> None:
    """Show an organisation, or a user's namespace: its members and their roles."""
    found = desk.ask("GET", _path(name))
    try:
        members = desk.ask("GET", f"{_path(name)}/members")["members"]
    except Forbidden:
        desk.out.one(SUMMARY, found)
        desk.out.note("Who has which role there is shown to owners.")
        return
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**found, "members": members})
        return
    desk.out.one(SUMMARY, found)
    desk.out.rows(MEMBERS, members)


@org.command("set", short_help="Say what new repositories there are: visibility=internal.")
@click.argument("name")
@click.argument("setting", metavar="visibility=VALUE")
@cluster_options
def set_(desk: CommandContext, name: str, setting: str) -> None:
    """Say what repositories are that come into being there; those there are stay as they are.

    visibility: private, internal (whoever is signed in pulls) or public. Also of a user's
    namespace.
    """
    word, equals, value = setting.partition("=")
    if (word, equals) != (VISIBILITY, "="):
        raise SettingInvalid(
            f"{setting!r} is nothing to set: say {VISIBILITY}=private, internal or public"
        )
    desk.ask("PUT", _path(name), body={VISIBILITY: value})
    told = f"What is pushed to {name} for the first time is {value} from now on."
    desk.out.done(told, {"name": name, VISIBILITY: value})


@org.command("remove", short_help="Remove an organisation, and delete its repositories.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, name: str, *, yes: bool) -> None:
    """Remove an organisation with all roles in it, and delete its repositories.

    They can be restored for as long as what was deleted is kept: `treescale org add` makes the
    organisation anew, and `treescale repo restore` brings each back.
    """
    confirm(f"Remove the organisation {name}, and delete its repositories?", yes=yes)
    deleted = desk.ask("DELETE", _path(name))["repositories"]
    desk.out.done(
        f"The organisation {name} is removed; repositories deleted with it: {len(deleted):,}. "
        "`treescale repo deleted` lists what can be restored.",
        {"name": name, "repositories": deleted},
    )


@org.command("grant", short_help="Give a user a role: reader, writer, maintainer or owner.")
@click.argument("name")
@click.argument("user")
@click.argument("role", metavar="|".join(Role))
@_REPOSITORY
@cluster_options
def grant(desk: CommandContext, name: str, user: str, role: str, repository: str | None) -> None:
    """Give a user a role in an organisation, or in a user's namespace.

    A reader pulls, a writer pushes too, a maintainer also deletes, opens and closes repositories
    and has webhooks, an owner also has members and settings. A role that the user has for the same
    repositories is replaced; roles for several patterns add up.
    """
    glob = repository or EVERY_REPOSITORY
    desk.ask("PUT", _member(name, user), body={"role": role, "repository": glob})
    of = f"all of {name}" if glob == EVERY_REPOSITORY else glob
    told = {"name": name, "user": user, "role": role, "repository": glob}
    desk.out.done(f"{user} is {role} of {of}.", told)


@org.command("revoke", short_help="Take a user's roles there away.")
@click.argument("name")
@click.argument("user")
@_REPOSITORY
@cluster_options
def revoke(desk: CommandContext, name: str, user: str, repository: str | None) -> None:
    """Take a user's roles there away, or the one for a pattern: within a minute everywhere."""
    desk.ask("DELETE", _member(name, user), query={"repository": repository})
    of = name if repository is None else f"{name} for {repository}"
    told = {"name": name, "user": user, "repository": repository}
    desk.out.done(f"{user} has no role in {of} any more.", told)


def _path(name: str) -> str:
    return f"/organisations/{segment(name)}"


def _member(name: str, user: str) -> str:
    return f"{_path(name)}/members/{segment(user)}"
