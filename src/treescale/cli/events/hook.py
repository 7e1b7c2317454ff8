"""`treescale hook`: webhooks, and what was sent to them."""

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.clock import DatabaseClock, SystemClock
from treescale.events.hooks.planner import DEFAULT_KINDS
from treescale.events.hooks.request import masked_headers, masked_url, parse_header
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import (
    HOOKS_SETTING,
    PAUSED,
    Delivery,
    DeliveryState,
    Hook,
    HookFormat,
)
from treescale.registry.hooks import Caller, HookTerms, WebhookService

Result = TypeVar("Result")
PAGE_SIZE = 500
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
    secret = sys.stdin.readline().strip("\r\n") if secret_stdin else ""
    lines = [line.strip("\r\n") for line in sys.stdin] if header_stdin else []
    terms = HookTerms(
        scope,
        url,
        HookFormat(form),
        kind or DEFAULT_KINDS,
        tuple(parse_header(line) for line in (*header, *lines) if line),
        template,
        secret,
        settle,
        untagged,
    )

    async def work(service: WebhookService) -> tuple[Hook, str]:
        return await service.add(terms, _caller())

    made, text = _run(desk, work)
    told = ADDED if text else ADDED_WITH_SECRET
    row = {**_row(made), "secret": text or None}
    desk.out.done(told.format(id=made.hook_id, secret=text), row)
    _note_pause(desk)


@hook.command("list")
@cluster_options
def list_hooks(desk: CommandContext) -> None:
    """List all webhooks."""

    async def work(service: WebhookService) -> list[Row]:
        found: list[Hook] = []
        while page := await service.page(_caller(), found[-1].hook_id if found else "", PAGE_SIZE):
            found += page
        return [_row(one) for one in found]

    desk.out.rows(LISTED, _run(desk, work))
    _note_pause(desk)


@hook.command("show", short_help="Show one, and what was sent to it lately.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def show(desk: CommandContext, hook_id: str) -> None:
    """Show a webhook and its newest deliveries; what is secret is not shown."""

    async def work(service: WebhookService) -> tuple[Hook, list[Delivery]]:
        return await service.get(hook_id, _caller()), await service.history(hook_id, _caller())

    one, sent = _run(desk, work)
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
    _run(desk, lambda service: service.remove(hook_id, _caller()))
    desk.out.done(f"Webhook {hook_id} is removed.", {"id": hook_id})


@hook.command("rotate", short_help="Sign with another secret.")
@click.argument("hook_id", metavar="ID")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
@cluster_options
def rotate(desk: CommandContext, hook_id: str, *, secret_stdin: bool) -> None:
    """Sign with another secret, and for a day with the one before too."""
    secret = sys.stdin.readline().strip("\r\n") if secret_stdin else ""
    made = _run(desk, lambda service: service.rotate(hook_id, _caller(), secret))
    told = f"Webhook {hook_id} has another secret; the one before is valid for a day."
    told += f" It is shown this once:\n{made}" if made else ""
    desk.out.done(told, {"id": hook_id, "secret": made or None})


@hook.command("ping", short_help="Send a ping, which deploys nothing.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def ping(desk: CommandContext, hook_id: str) -> None:
    """Send a ping, which names no image and deploys nothing; `hook show` tells what came back."""
    _sent(desk, hook_id, _run(desk, lambda service: service.ping(hook_id, _caller())))


@hook.command("redeliver", short_help="Send a delivery once more.")
@click.argument("delivery", type=click.IntRange(min=1), metavar="DELIVERY")
@cluster_options
def redeliver(desk: CommandContext, delivery: int) -> None:
    """Send a delivery once more, with the same webhook-id."""

    async def work(service: WebhookService) -> int:
        return await service.redeliver(delivery, _caller())

    made = _run(desk, work)
    desk.out.done(f"Delivery {made} is on its way.", {"delivery": made})


@hook.command("enable", short_help="Have it be asked again.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def enable(desk: CommandContext, hook_id: str) -> None:
    """Have a webhook be asked again: of what waits still, and of what happens from now on."""
    _run(desk, lambda service: service.enable(hook_id, _caller()))
    desk.out.done(f"Webhook {hook_id} is enabled.", {"id": hook_id, "state": "enabled"})


@hook.command("disable", short_help="Have it be left alone.")
@click.argument("hook_id", metavar="ID")
@cluster_options
def disable(desk: CommandContext, hook_id: str) -> None:
    """Have a webhook be left alone until it is enabled."""
    _run(desk, lambda service: service.disable(hook_id, _caller()))
    desk.out.done(f"Webhook {hook_id} is disabled.", {"id": hook_id, "state": "disabled"})


def _run(desk: CommandContext, work: Callable[[WebhookService], Awaitable[Result]]) -> Result:
    public_url = desk.loaded.settings.public_url

    async def with_service(database: Database) -> Result:
        clock = DatabaseClock(SystemClock())
        await clock.read(database.servers.now)
        return await work(WebhookService(database, public_url, clock=clock))

    return desk.run(with_service)


def _caller() -> Caller:
    return Caller(cli_actor())


def _sent(desk: CommandContext, hook_id: str, delivery: int) -> None:
    told = f"A ping is on its way: `treescale hook show {hook_id}` tells what came back."
    desk.out.done(told, {"id": hook_id, "delivery": delivery})
    _note_pause(desk)


def _note_pause(desk: CommandContext) -> None:
    """Say so when nothing is sent: who looks at webhooks would wonder."""
    if desk.run(lambda database: database.settings.get(HOOKS_SETTING)) in PAUSED:
        desk.out.note(PAUSED_NOTE)


def _row(one: Hook) -> Row:
    return {
        "id": one.hook_id,
        "scope": one.scope,
        "format": one.format.value,
        "url": masked_url(one.url),
        "state": one.state.value,
        "reason": one.reason,
        "failing_since": time(one.failing_since),
        "kinds": [*one.kinds],
        "headers": [f"{name}: {value}" for name, value in masked_headers(one.headers).items()],
        "template": one.template,
        "settle": one.settle,
        "untagged": one.untagged,
        "created": time(one.created),
        "created_by": one.actor,
    }


def _delivery(one: Delivery) -> Row:
    waits = one.state is DeliveryState.WAITING
    return {
        "delivery": one.delivery_id,
        "event_id": one.event_id,
        "kind": one.kind,
        "repository": one.repository,
        "state": one.state.value,
        "attempts": one.attempt,
        "status": one.status,
        "seconds": None if one.seconds is None else round(one.seconds, 3),
        "created": time(one.created),
        "next": time(one.next_at) if waits else None,
        "answer": one.answer,
    }
