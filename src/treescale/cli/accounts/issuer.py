"""`treescale issuer`: whose ID tokens are believed, for robots without a secret."""

import sys
from pathlib import Path

import click

from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.options import CommandContext, cluster_options, confirm
from treescale.console.route import segment
from treescale.errors import SettingInvalid
from treescale.maintenance.report.columns import Column, Kind

COLUMNS = (Column("issuer"), Column("keys"), Column("created", Kind.TIME))


@click.group(cls=CommandGroup)
def issuer() -> None:
    """Issuers of ID tokens: whose may be trusted for robots."""


@issuer.command("add", short_help="Allow an issuer, or replace its keys.")
@click.argument("url")
@click.option(
    "--jwks", metavar="FILE", help="Its keys, where they cannot be fetched; -: standard input."
)
@cluster_options
def add(desk: CommandContext, url: str, jwks: str | None) -> None:
    """Believe the ID tokens of an issuer: its URL is the `iss` that they have, letter by letter.

    Its keys are fetched from where it publishes them. Where that cannot be reached, as of a
    Kubernetes cluster, they are given: `kubectl get --raw /openid/v1/jwks`.
    """
    keys = None if jwks is None else _read(jwks)
    made = desk.ask("POST", "/issuers", body={"issuer": url, "jwks": keys})
    desk.out.done(
        f"ID tokens of {url} are believed. `treescale robot trust` says for which robots.", made
    )


@issuer.command("list")
@cluster_options
def list_(desk: CommandContext) -> None:
    """List the issuers whose ID tokens are believed."""
    desk.out.rows(COLUMNS, desk.pages("/issuers", "issuers"))


@issuer.command("remove", short_help="Believe an issuer no more.")
@click.argument("url")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def remove(desk: CommandContext, url: str, *, yes: bool) -> None:
    """Believe the ID tokens of an issuer no more, and remove all trust rules that name it."""
    confirm(f"Remove the issuer {url}, and all trust rules that name it?", yes=yes)
    gone = desk.ask("DELETE", f"/issuers/{segment(url)}")
    told = f"ID tokens of {url} are not believed any more; robots that had rules for them: "
    desk.out.done(f"{told}{gone['robots']:,}.", gone)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SettingInvalid(f"cannot read {file} as --jwks: {why}") from None
