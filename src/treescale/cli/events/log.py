"""`treescale events`: what has happened, from the log in the database; and on, as it happens."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click
import msgspec

from treescale.cli.terminal.options import Asking, CommandContext, cluster_options
from treescale.cli.terminal.output import for_people, plain
from treescale.console.events import EventPage
from treescale.events.filters import EventFilter, parse_filter
from treescale.events.rows import NEWEST, OLDEST, EventRow, cursor, line
from treescale.metadata.database import Database
from treescale.metadata.events.log import READ_AT_ONCE_MAX
from treescale.metadata.events.recorded import Place, Recorded

POLL_SECONDS: Final = 0.5
"""How often somebody who follows looks."""
_DIGEST_SHOWN: Final = 19
"""`sha256:` and twelve digits."""


@click.command("events")
@click.option("--follow", is_flag=True, help="Go on with what happens, until interrupted.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only what follows this sequence; with --follow what is new, unless it is given.",
)
@click.option("--kind", default="", metavar="GLOB", help="Such as image.pushed or token.*.")
@click.option("--repository", default="", metavar="GLOB", help="Of which repositories.")
@cluster_options
def events(
    desk: CommandContext, *, follow: bool, after: int | None, kind: str, repository: str
) -> None:
    """Say what has happened, oldest first: who did what to which image, account or server.

    An event is a line; with --json it is a JSON object.
    """
    wanted = parse_filter(kinds=kind, repository=repository)

    def show(event: Recorded) -> None:
        click.echo(line(event).decode().rstrip() if desk.out.as_json else _told(event))

    async def work(database: Database) -> None:
        log = database.event_log
        # Nobody else may be there to do it, and who has just done something wants to see it.
        await log.number()
        begin = after if after is not None else (await log.last() if follow else 0)
        if 0 < begin < await log.first() - 1:
            desk.out.note(f"Events that follow {begin} are not kept any more: there is a gap.")
        position = await _show_all(database, begin, wanted, show)
        while follow:
            await asyncio.sleep(POLL_SECONDS)
            if await log.has_waiting():
                await log.number()
            position = await _show_all(database, position, wanted, show)

    query = {"kind": kind, "repository": repository}
    with suppress(KeyboardInterrupt):
        if desk.server is None:
            desk.run(work)
        else:
            desk.asking(partial(_of_server, desk, query, after, show, follow=follow))


async def _of_server(
    desk: CommandContext,
    query: Mapping[str, str],
    after: int | None,
    show: Callable[[Recorded], None],
    api: Asking,
    *,
    follow: bool,
) -> None:
    """Show what a server tells of, as far as it may be seen there."""
    begin = NEWEST if follow else OLDEST
    place = begin if after is None else cursor(Place(after))
    while True:
        found = await api.ask("GET", "/events", query={**query, "after": place})
        page = msgspec.convert(found, EventPage)
        if page.gap and after is not None:
            desk.out.note(f"Events that follow {after} are not kept any more: there is a gap.")
        for row in page.events:
            show(_recorded(row))
        place = page.next
        if not page.more:
            if not follow:
                return
            await asyncio.sleep(POLL_SECONDS)


def _recorded(row: EventRow) -> Recorded:
    return Recorded(
        row.sequence,
        row.id,
        row.kind,
        row.at.timestamp(),
        row.actor or "",
        row.namespace,
        row.repository,
        row.reference,
        row.digest,
        row.previous_digest,
        row.payload,
        row.request_id,
    )


async def _show_all(
    database: Database, after: int, wanted: EventFilter, show: Callable[[Recorded], None]
) -> int:
    """Show all that follows, and return how far that is."""
    while page := await database.event_log.after(after, READ_AT_ONCE_MAX):
        for event in page:
            if wanted.matches(event):
                show(event)
        after = page[-1].sequence
    return after


def _told(event: Recorded) -> str:
    """Return the event as a line: for people aligned, for pipes with tabs and nothing left out."""
    if not for_people():
        at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
        cells = (
            event.sequence,
            at.replace("+00:00", "Z"),
            event.kind,
            event.actor,
            _subject(event),
            event.digest,
        )
        return "\t".join(plain(cell or None) for cell in cells)
    at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    digest = (event.digest or "")[:_DIGEST_SHOWN]
    return f"{at}  {event.kind:<20}  {_subject(event):<32}  {event.actor:<16}  {digest}".rstrip()


def _subject(event: Recorded) -> str:
    """Return what it happened to."""
    name = event.repository or event.namespace or ""
    if event.reference is not None:
        return f"{name}:{event.reference}"
    told = [str(event.payload[key]) for key in _TOLD if key in event.payload]
    return name or " ".join(told)


_TOLD: Final = ("name", "server_id", "store_id", "state", "number", "file")
"""What of a payload says what it happened to, where no name does."""
