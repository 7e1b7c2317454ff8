"""`treescale quota` and `treescale usage`: what namespaces may have, have, and had by month."""

from collections.abc import Mapping
from typing import Any, Final

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.console.route import segment
from treescale.errors import SettingInvalid
from treescale.maintenance.report.columns import Column, Kind, Row
from treescale.sizes import in_words

LISTED: Final = (
    Column("namespace"),
    Column("used", Kind.BYTES, empty="-"),
    Column("quota", Kind.BYTES, empty="none"),
    Column("share", Kind.SHARE, empty="-"),
    Column("waiting", Kind.BYTES, empty="-"),
    Column("repositories", Kind.COUNT),
)
SUMMARY: Final = (
    *LISTED,
    Column("repositories_max", Kind.COUNT, empty="none"),
    Column("tags_max", Kind.COUNT, empty="none"),
)
MONTHS: Final = (
    Column("namespace"),
    Column("month"),
    Column("kept", Kind.BYTES),
    Column("kept_max", Kind.BYTES),
    Column("byte_hours", Kind.COUNT),
    Column("pulled", Kind.BYTES),
    Column("pulls", Kind.COUNT),
)
_OF_EACH = "A number, none, or default for the cluster's."


@click.group(cls=CommandGroup)
def quota() -> None:
    """Quotas: how much a namespace may have."""


@quota.command("set", short_help="Give a namespace a quota: 50GB, none or default.")
@click.argument("namespace")
@click.argument("size", required=False)
@click.option("--repositories", metavar="N", help=f"How many repositories at most. {_OF_EACH}")
@click.option("--tags", metavar="N", help=f"How many tags a repository at most. {_OF_EACH}")
@cluster_options
def set_(
    desk: CommandContext,
    namespace: str,
    size: str | None,
    repositories: str | None,
    tags: str | None,
) -> None:
    """Say how much a user's or an organisation's namespace may have.

    SIZE is 50GB, 1.5TB or 200GiB; none: as much as it likes, whatever the cluster's quota is;
    default: the cluster's (`treescale cluster set quota=…`). Each layer and manifest counts once in
    a namespace, as long as it can be restored.
    """
    if size is repositories is tags is None:
        raise SettingInvalid("say a SIZE such as 50GB, --repositories or --tags")
    body = {"quota": size, "repositories_max": repositories, "tags_max": tags}
    found = desk.ask("PUT", _path(namespace), body=body)
    desk.out.done(f"{namespace}: {_in_words(found)}.", found)


@quota.command("list")
@cluster_options
def list_(desk: CommandContext) -> None:
    """List the namespaces that have a quota, and what they have used of it."""
    desk.out.rows(LISTED, desk.pages("/quotas", "quotas"))


@quota.command("show", short_help="Show what a namespace may have, and has.")
@click.argument("namespace")
@cluster_options
def show(desk: CommandContext, namespace: str) -> None:
    """Show what a namespace may have, and has.

    What waits is deleted, and counts until it is gone: `treescale collect --purge NAME` frees it at
    once.
    """
    desk.out.one(SUMMARY, desk.ask("GET", _path(namespace)))


@click.command("usage")
@click.argument("namespace", required=False)
@click.option("--month", metavar="YYYY-MM", help="Of all namespaces; the present one without it.")
@cluster_options
def usage(desk: CommandContext, namespace: str | None, month: str | None) -> None:
    """Show what namespaces kept, and what was pulled of them: in a month, or of one by month.

    kept is what it had on average, each layer once, without what was deleted; kept_max the most;
    byte_hours that over time; pulled the bytes of layers that were sent; pulls the manifests. 13
    months are kept beside the present one.
    """
    if namespace is None:
        rows: list[Row] = desk.pages("/usage", "months", query={"month": month})
    else:
        found = desk.ask("GET", f"/usage/{segment(namespace)}")["months"]
        rows = [one for one in found if month in (None, one["month"])]
    desk.out.rows(MONTHS, rows)


def _path(namespace: str) -> str:
    return f"/quotas/{segment(namespace)}"


def _in_words(found: Mapping[str, Any]) -> str:
    bytes_max, repositories, tags = (
        found[name] for name in ("quota", "repositories_max", "tags_max")
    )
    told = [
        "no quota" if bytes_max is None else f"{in_words(found['used'])} of {in_words(bytes_max)}"
    ]
    if repositories is not None:
        told.append(f"{found['repositories']:,} of {repositories:,} repositories")
    if tags is not None:
        told.append(f"{tags:,} tags a repository at most")
    return ", ".join(told)
