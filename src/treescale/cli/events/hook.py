"""`treescale hook`: webhooks, and what was sent to them."""

import sys
from collections.abc import Iterable

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.errors import Forbidden, RequestInvalid
from treescale.events.hooks.planner import DEFAULT_KINDS
from treescale.events.hooks.request import parse_header
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.metadata.events.hook_records import HOOKS_SETTING, PAUSED, HookFormat

LISTED = (
    Column("id"),
    Column("scope"),
    Column("format"),
    Column("url"),
    Column("state"),
    Column("failing_since", Kind.TIME),
)
SUMMARY = (
    *LISTED,
    Column("reason"),
    Column("kinds"),
    Column("headers"),
    Column("template"),
    Column("settle"),
    Column("untagged", Kind.FLAG),
    Column("created", Kind.TIME),
    Column("created_by"),
)
DELIVERIES = (
    Column("delivery"),
    Column("kind"),
    Column("repository"),
    Column("state"),
    Column("attempts", Kind.COUNT),
    Column("status"),
    Column("seconds"),
    Column("created", Kind.TIME),
    Column("next", Kind.TIME),
    Column("answer"),
)
_KEPT = [column.key for column in SUMMARY if column.key != "headers"]
_SENT = [column.key for column in DELIVERIES if column.key not in ("delivery", "seconds")]
_SENT.insert(0, "event_id")
ADDED = (
    "Webhook {id} is made. Its secret, shown this once:\n{secret}\n"
    "`treescale hook ping {id}` tries it."
)
ADDED_WITH_SECRET = "Webhook {id} is made. `treescale hook ping {id}` tries it."  # noqa: S105  a sentence
PAUSED_NOTE = (
    "No webhook is sent now: `treescale cluster set hooks=on` ends that. After a restore see "
    "first that nobody uses the other database, which would tell the same."
)


@click.group(cls=CommandGroup)
def hook() -> None:
    """Webhooks: who is told by HTTP of what happens."""


@hook.command("add", short_help="Tell a URL of pushes, or of what else happens.")
@click.argument("scope", metavar="NAMESPACE|REPOSITORY|*")
@click.argument("url")
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in HookFormat]),
    default=HookFormat.TREESCALE.value,
    show_default=True,
    help="What its receiver reads.",
)
@click.option("--kind", multiple=True, metavar="GLOB", help="Of what; image.pushed and tag.moved.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
@click.option("--header", multiple=True, metavar="NAME:VALUE", help="A header of its own.")
@click.option("--header-stdin", is_flag=True, help="Read headers from standard input, one a line.")
@click.option("--template", default="", metavar="TEXT", help="The body, for --format template.")
@click.option(
    "--settle", type=float, default=0.0, metavar="SECONDS", help="Send the last of a burst only."
)
@click.option("--untagged", is_flag=True, help="Tell of pushes of a digest alone, too.")
@cluster_options
def add(  # noqa: PLR0913  an argument for each option
    desk: CommandContext,
    scope: str,
    url: str,
    *,
    form: str,
    kind: tuple[str, ...],
    secret_stdin: bool,
    header: tuple[str, ...],
    header_stdin: bool,
    template: str,
    settle: float,
    untagged: bool,
) -> None:
    """Tell a URL of what happens in a namespace, or in repositories that match; * is everything.

    Without --secret-stdin a secret is made, and shown this once. With both a secret and headers on
    standard input, the secret is the first line.
    """
    secret = _secret_line() if secret_stdin else ""
    lines = [*header, *(_header_lines() if header_stdin else ())]
    wanted = {
        "scope": scope,
        "url": url,
        "format": form,
        "kinds": [*(kind or DEFAULT_KINDS)],
        "headers": _headers(lines),
        "template": template,
        "secret": secret,
        "settle": settle,
        "untagged": untagged,
    }
    made = desk.ask("POST", "/hooks", body=wanted)
    text, one = made["secret"], made["hook"]
    told = ADDED if text else ADDED_WITH_SECRET
    desk.out.done(told.format(id=one["id"], secret=text), {**_row(one), "secret": text})
    _note_pause(desk)


@hook.command("list")
@cluster_options
def list_hooks(desk: CommandContext) -> None:
    """List all webhooks."""
    desk.out.rows(LISTED, [_row(one) for one in desk.pages("/hooks", "hooks")])
    _note_pause(desk)


@hook.command("show", short_help="Show one, and what was sent to it lately.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def show(desk: CommandContext, hook_id: str) -> None:
    """Show a webhook and its newest deliveries; what is secret is not shown."""
    one = desk.ask("GET", _path(hook_id))
    sent = desk.ask("GET", f"{_path(hook_id)}/deliveries")["deliveries"]
    deliveries = [_delivery(each) for each in sent]
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**_row(one), "deliveries": deliveries})
        return
    desk.out.one(SUMMARY, _row(one))
    desk.out.rows(DELIVERIES, deliveries, "delivery")
    _note_pause(desk)


@hook.command("remove", short_help="Remove one, and what it was to get.")
@click.argument("hook_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, hook_id: str, *, yes: bool) -> None:
    """Remove a webhook, and what was to be sent to it."""
    confirm(f"Remove the webhook {hook_id}?", yes=yes)
    desk.ask("DELETE", _path(hook_id))
    desk.out.done(f"Webhook {hook_id} is removed.", {"id": hook_id})


@hook.command("rotate", short_help="Sign with another secret.")
@click.argument("hook_id", metavar="ID")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
@cluster_options
def rotate(desk: CommandContext, hook_id: str, *, secret_stdin: bool) -> None:
    """Sign with another secret, and for a day with the one before too."""
    secret = _secret_line() if secret_stdin else ""
    made = desk.ask("POST", f"{_path(hook_id)}/rotate", body={"secret": secret})["secret"]
    told = f"Webhook {hook_id} has another secret; the one before is valid for a day."
    told += f" It is shown this once:\n{made}" if made else ""
    desk.out.done(told, {"id": hook_id, "secret": made})


@hook.command("ping", short_help="Send a ping, which deploys nothing.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def ping(desk: CommandContext, hook_id: str) -> None:
    """Send a ping, which names no image and deploys nothing; `hook show` tells what came back."""
    _sent(desk, hook_id, desk.ask("POST", f"{_path(hook_id)}/ping")["delivery"])


@hook.command("redeliver", short_help="Send a delivery once more.")
@click.argument("delivery", type=click.IntRange(min=1), metavar="DELIVERY")
@cluster_options
def redeliver(desk: CommandContext, delivery: int) -> None:
    """Send a delivery once more, with the same webhook-id."""
    made = desk.ask("POST", f"/deliveries/{delivery}/redeliver")["delivery"]
    desk.out.done(f"Delivery {made} is on its way.", {"delivery": made})


@hook.command("enable", short_help="Have it be asked again.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def enable(desk: CommandContext, hook_id: str) -> None:
    """Have a webhook be asked again: of what waits still, and of what happens from now on."""
    desk.ask("POST", f"{_path(hook_id)}/enable")
    desk.out.done(f"Webhook {hook_id} is enabled.", {"id": hook_id, "state": "enabled"})


@hook.command("disable", short_help="Have it be left alone.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def disable(desk: CommandContext, hook_id: str) -> None:
    """Have a webhook be left alone until it is enabled."""
    desk.ask("POST", f"{_path(hook_id)}/disable")
    desk.out.done(f"Webhook {hook_id} is disabled.", {"id": hook_id, "state": "disabled"})


def _secret_line() -> str:
    """Return the secret that was promised: without one another would be made, in silence."""
    secret = sys.stdin.readline().strip("\r\n")
    if not secret:
        raise click.UsageError("--secret-stdin: standard input begins with no secret")
    return secret


def _header_lines() -> list[str]:
    lines = [line for line in (each.strip("\r\n") for each in sys.stdin) if line]
    if not lines:
        raise click.UsageError("--header-stdin: standard input has no header")
    return lines


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """Return the headers of `Name: value`; one that is there twice would be lost."""
    found: dict[str, str] = {}
    for name, value in map(parse_header, lines):
        if name in found:
            raise RequestInvalid(f"the header {name} is there twice")
        found[name] = value
    return found


def _path(hook_id: str) -> str:
    return f"/hooks/{segment(hook_id)}"


def _sent(desk: CommandContext, hook_id: str, delivery: int) -> None:
    told = f"A ping is on its way: `treescale hook show {hook_id}` tells what came back."
    desk.out.done(told, {"id": hook_id, "delivery": delivery})
    _note_pause(desk)


def _note_pause(desk: CommandContext) -> None:
    """Say so when nothing is sent: who looks at webhooks would wonder."""
    try:
        said = desk.ask("GET", f"/cluster/settings/{HOOKS_SETTING}")["value"]
    except Forbidden:  # it is for administrators
        return
    if said in PAUSED:
        desk.out.note(PAUSED_NOTE)


def _row(one: Row) -> Row:
    headers = one["headers"]
    assert isinstance(headers, dict)
    kept = {key: one[key] for key in _KEPT}
    return {**kept, "headers": [f"{name}: {value}" for name, value in headers.items()]}


def _delivery(one: Row) -> Row:
    seconds = one["seconds"]
    kept = {key: one[key] for key in _SENT}
    rounded = round(seconds, 3) if isinstance(seconds, float) else None
    return {"delivery": one["id"], **kept, "seconds": rounded}
