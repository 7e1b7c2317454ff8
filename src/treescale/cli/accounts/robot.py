"""`treescale robot`: who pushes and pulls without being a person, with a secret or keyless."""

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.errors import SettingInvalid
from treescale.maintenance.report.columns import Column, Kind
from treescale.oci.names import robot_parts

COLUMNS = (
    Column("name"),
    Column("allow"),
    Column("repository"),
    Column("expires", Kind.TIME, empty="never"),
    Column("last_used", Kind.TIME, empty="never"),
    Column("last_address", empty="-"),
)
SUMMARY = (
    *COLUMNS[:3],
    Column("created", Kind.TIME),
    *COLUMNS[3:],
    Column("maker"),
)
SECRETS = (
    Column("created", Kind.TIME),
    Column("expires", Kind.TIME, empty="never"),
    Column("exchanged"),
)
RULES = (Column("id"), Column("issuer"), Column("claims"))
_NAME = click.argument("name", metavar="NAMESPACE+NAME")


@click.group(cls=CommandGroup)
def robot() -> None:
    """Robots: who logs in for CI and machines, and outlives whoever made it."""


@robot.command("add", short_help="Make a robot and print its secret: this once.")
@click.argument("namespace")
@click.argument("name")
@click.option(
    "--allow",
    default="pull,push",
    show_default=True,
    metavar="RIGHTS",
    help="Of pull,push,delete; and of api,events.",
)
@click.option(
    "--repository",
    default="*",
    show_default=True,
    metavar="GLOB",
    help="On which names of its namespace; * is any text.",
)
@click.option(
    "--expires",
    default="none",
    show_default=True,
    metavar="TIME",
    help="30m, 12h, 90d, 2w, 1y or none.",
)
@cluster_options
def add(
    desk: CommandContext, namespace: str, name: str, *, allow: str, repository: str, expires: str
) -> None:
    """Make a robot of an organisation or a user, and print its secret: this once, nothing else.

    It logs in as NAMESPACE+NAME.
    """
    body = {
        "name": name,
        "allow": [word.strip() for word in allow.split(",")],
        "repository": repository,
        "expires": expires,
    }
    made = desk.ask("POST", _path(namespace), body=body)
    desk.out.done(made["secret"], made)


@robot.command("list")
@click.argument("namespace")
@cluster_options
def list_(desk: CommandContext, namespace: str) -> None:
    """List the robots of a namespace."""
    desk.out.rows(COLUMNS, desk.pages(_path(namespace), "robots"))


@robot.command("show", short_help="Show a robot, its secrets and its trust rules.")
@_NAME
@cluster_options
def show(desk: CommandContext, name: str) -> None:
    """Show a robot: when its secrets end, and whose ID tokens it takes."""
    found = desk.ask("GET", _path_of(name))
    if desk.out.as_json:
        desk.out.one(
            SUMMARY, {**found["robot"], "secrets": found["secrets"], "rules": found["rules"]}
        )
        return
    desk.out.one(SUMMARY, found["robot"])
    desk.out.rows(SECRETS, found["secrets"], label="secret")
    rules = [{**rule, "claims": _claims_text(rule["claims"])} for rule in found["rules"]]
    desk.out.rows(RULES, rules, label="rule")


@robot.command("rotate", short_help="Give a robot another secret and print it: this once.")
@_NAME
@click.option("--now", is_flag=True, help="End the secret before at once, and not in a day.")
@cluster_options
def rotate(desk: CommandContext, name: str, *, now: bool) -> None:
    """Give a robot another secret, and print it: this once, and nothing else.

    The one before stays good for 24 hours; no third one is good.
    """
    made = desk.ask("POST", f"{_path_of(name)}/rotate", body={"now": now})
    desk.out.done(made["secret"], made)


@robot.command("remove")
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, name: str, *, yes: bool) -> None:
    """Remove a robot. Within a minute it is nobody, everywhere."""
    path = _path_of(name)
    confirm(f"Remove the robot {name}?", yes=yes)
    desk.out.done(f"The robot {name} is removed.", desk.ask("DELETE", path))


@robot.command("trust", short_help="Take ID tokens as a robot's password.")
@_NAME
@click.option("--issuer", default="", metavar="URL", help="Whose: the iss that they have.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="KEY=GLOB",
    help="What they must say; * is any text. Again for each.",
)
@click.option(
    "--preset",
    default="",
    metavar="github|gitlab|kubernetes",
    help="The issuer of that, and what belongs to such a rule.",
)
@cluster_options
def trust(
    desk: CommandContext, name: str, *, issuer: str, claims: tuple[str, ...], preset: str
) -> None:
    """Take ID tokens of an issuer as a robot's password, where all claims are as said.

    An administrator allows issuers: `treescale issuer add URL`.
    """
    body = {"issuer": issuer, "claims": dict(map(_claim, claims)), "preset": preset}
    made = desk.ask("POST", f"{_path_of(name)}/rules", body=body)
    rule = made["rule"]
    desk.out.done(
        f"ID tokens of {rule['issuer']} that say {_claims_text(rule['claims'])} log in as {name}: "
        f"rule {rule['id']}.",
        made,
    )
    if made["advice"]:
        desk.out.note(made["advice"])


@robot.command("distrust", short_help="Remove a trust rule.")
@_NAME
@click.argument("rule")
@cluster_options
def distrust(desk: CommandContext, name: str, rule: str) -> None:
    """Remove a trust rule, and what was given by it: within a minute everywhere."""
    gone = desk.ask("DELETE", f"{_path_of(name)}/rules/{segment(rule)}")
    desk.out.done(f"The rule {rule} of {name} is removed.", gone)


def _path(namespace: str) -> str:
    return f"/organisations/{segment(namespace)}/robots"


def _path_of(name: str) -> str:
    parts = robot_parts(name)
    if parts is None:
        raise SettingInvalid(f"{name!r} is no robot: say NAMESPACE+NAME, such as acme+ci")
    return f"{_path(parts[0])}/{segment(parts[1])}"


def _claim(text: str) -> tuple[str, str]:
    name, equals, glob = text.partition("=")
    if not equals:
        raise SettingInvalid(f"{text!r} is no claim: say KEY=GLOB, such as repository=acme/app")
    return name, glob


def _claims_text(claims: dict[str, str]) -> str:
    return " ".join(f"{name}={glob}" for name, glob in claims.items())
