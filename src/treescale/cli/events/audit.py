"""`treescale audit`: who did what, from where, oldest first."""

from collections.abc import Mapping
from datetime import MAXYEAR, UTC, datetime
from typing import Any

import click
import msgspec

from treescale.cli.terminal.options import Asking, CommandContext, cluster_options
from treescale.cli.terminal.output import for_people, plain

PAGE = "1000"
_ACTOR_WIDTH = 16
_LISTED_MAX = 20
"""So many entries of a list are told: the rights of a token, the claims of a rule."""
_TIMES = ("expires", "old_until")
"""What of a payload is a time, in seconds since 1970."""
_NO_DATE = datetime(MAXYEAR, 12, 31, tzinfo=UTC).timestamp()
"""Later ends are those of version 0.1.0 alone."""


@click.command("audit", short_help="Say who did what, from which address.")
@click.option("--namespace", metavar="NAME", help="Of one namespace alone.")
@click.option("--actor", metavar="WHO", help="By whom: a user, or all of cli:USER@HOST.")
@click.option("--kind", metavar="GLOB", help="Such as token.* or member.granted,member.revoked.")
@click.option("--repository", metavar="GLOB", help="Of which repositories.")
@click.option(
    "--since",
    default="7d",
    metavar="WHEN",
    show_default=True,
    help="From when on: so long ago, or a time such as 2026-12-01T08:30:00Z.",
)
@click.option("--until", metavar="WHEN", help="Until when, likewise.")
@cluster_options
def audit(desk: CommandContext, **asked: str | None) -> None:
    """Say who did what, oldest first: pushes, deletions, accounts, tokens, roles, settings, logins.

    An entry is a line; with --json it is a JSON object. Pulls are not among them. Whoever asks a
    server by --server sees all as an administrator, and else what is of a namespace of theirs.
    """
    query = {key: value for key, value in asked.items() if value is not None}

    async def work(api: Asking) -> None:
        after: dict[str, str] = {}
        while True:
            page = await api.ask(
                "GET", "/audit", query=query | {"order": "oldest", "n": PAGE} | after
            )
            for entry in page["entries"]:
                text = msgspec.json.encode(entry).decode() if desk.out.as_json else _told(entry)
                click.echo(text)
            if page["next"] is None:
                return
            after = {"after": page["next"]}

    desk.asking(work)


def _told(entry: Mapping[str, Any]) -> str:
    """Return an entry as a line: for people aligned, for pipes with tabs and nothing left out."""
    subject, changed = _subject(entry), _changed(entry)
    if not for_people():
        cells = (entry["at"], entry["kind"], entry["actor"], entry["address"], subject, changed)
        return "\t".join(plain(cell or None) for cell in cells)
    at = str(entry["at"])[:19].replace("T", " ")
    who = entry["actor"] or ""
    where = f"from {entry['address']}" if entry["address"] else ""
    words = (f"{who:<{_ACTOR_WIDTH}}", subject, changed, where)
    return f"{at}  {entry['kind']:<22}  {'  '.join(word for word in words if word)}".rstrip()


def _subject(entry: Mapping[str, Any]) -> str:
    """Return what it was done to."""
    name = str(entry["repository"] or entry["namespace"] or "")
    if entry["reference"] is not None:
        return f"{name}:{entry['reference']}"
    return f"{name}@{entry['digest']}" if entry["digest"] else name


def _changed(entry: Mapping[str, Any]) -> str:
    """Return what a payload says, in a line."""
    return " ".join(f"{key}={_short(key, value)}" for key, value in entry["payload"].items())


def _short(key: str, value: object) -> str:
    """Return a value as one word; long lists, and what they have inside, are for --json."""
    if isinstance(value, dict):
        pairs = value.items()
        value = [f"{name}:{one}" if _is_word(one) else {} for name, one in pairs]
    if isinstance(value, list):
        if not 0 < len(value) <= _LISTED_MAX or not all(map(_is_word, value)):
            return f"({len(value)})"
        return ",".join(_short(key, one) for one in value)
    if key in _TIMES and isinstance(value, int | float) and 0 <= value < _NO_DATE:
        value = datetime.fromtimestamp(int(value), UTC)
    return "".join(each if each.isprintable() else "?" for each in plain(value))


def _is_word(value: object) -> bool:
    return isinstance(value, str | int | float)
