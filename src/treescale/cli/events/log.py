"""`treescale events`: what has happened, from the log in the database; and on, as it happens."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import click
import msgspec

from treescale.cli.terminal.options import Asking, CommandContext, cluster_options
from treescale.cli.terminal.output import for_people, plain
from treescale.console.events import EventPage
from treescale.errors import Failed
from treescale.events.filters import EventFilter, parse_filter
from treescale.events.kinds import unknown_kind
from treescale.events.rows import NEWEST, OLDEST, EventRow, cursor, line
from treescale.metadata.database import Database
from treescale.metadata.events.log import READ_AT_ONCE_MAX, EventLog, following
from treescale.metadata.events.recorded import Place, Recorded

POLL_SECONDS: Final = 0.5
"""How often somebody who follows looks."""
RETRY_SECONDS: Final = 1.0
GAP: Final = (
    "There is a gap: events that were asked for are kept no more, or the log does not go so far."
)
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
    if why := unknown_kind(wanted.kinds) or _no_repository(repository):
        _say(f"{why} (As it is nothing can match.)")

    def show(event: Recorded) -> None:
        click.echo(line(event).decode().rstrip() if desk.out.as_json else _told(event))

    async def here(database: Database) -> None:
        log = database.event_log
        # Nobody else may be there to do it, and who has just done something wants to see it.
        await log.number()
        begin = (await log.last() if follow else 0) if after is None else after
        await _show_all(_OfDatabase(log, wanted, Place(begin)), show, follow=follow)

    async def there(api: Asking) -> None:
        place = (NEWEST if follow else OLDEST) if after is None else cursor(Place(after))
        reading = _OfServer(api, {"kind": kind, "repository": repository}, place)
        await _show_all(reading, show, follow=follow)

    with suppress(KeyboardInterrupt):
        if desk.server is None:
            desk.run(here)
        else:
            desk.asking(there)


@dataclass(frozen=True, slots=True)
class _Read:
    """Some of the log."""

    events: list[Recorded]
    more: bool
    gap: bool


class _Reading(Protocol):
    """The log, from a place on."""

    async def read(self) -> _Read:
        """Read what follows, and stand behind it; raises Failed, and stands where it did."""
        ...


@dataclass(slots=True)
class _OfDatabase:
    """The log as it is in the database."""

    log: EventLog
    wanted: EventFilter
    place: Place

    async def read(self) -> _Read:
        if await self.log.has_waiting():
            await self.log.number()
        page = await following(self.log, self.place, READ_AT_ONCE_MAX)
        last = await self.log.last()
        if page is None or self.place.sequence > last:  # it has gone back, or never got so far
            self.place = Place(min(self.place.sequence, last))
            return _Read([], more=True, gap=True)
        before = self.place.sequence
        is_next = before == 0 or (bool(page) and page[0].sequence == before + 1)
        gap = not is_next and await self.log.first() > before + 1
        if page:
            self.place = page[-1].place
        elif gap:
            self.place = Place(last)
        found = [event for event in page if self.wanted.matches(event)]
        return _Read(found, more=len(page) == READ_AT_ONCE_MAX, gap=gap)


@dataclass(slots=True)
class _OfServer:
    """What a server tells of, as far as it may be seen there."""

    api: Asking
    query: Mapping[str, str]
    place: str

    async def read(self) -> _Read:
        found = await self.api.ask("GET", "/events", query={**self.query, "after": self.place})
        page = msgspec.convert(found, EventPage)
        self.place = page.next
        return _Read([_recorded(row) for row in page.events], more=page.more, gap=page.gap)


async def _show_all(reading: _Reading, show: Callable[[Recorded], None], *, follow: bool) -> None:
    """Show all that follows; whoever follows goes on when what was asked is there again."""
    has_read, is_away = False, False
    while True:
        try:
            found = await reading.read()
        except Failed as error:
            if not (follow and has_read):
                raise
            if not is_away:
                _say(f"{error} (It is looked at again until it is there.)")
            is_away = True
            await asyncio.sleep(RETRY_SECONDS)
            continue
        has_read, is_away = True, False
        if found.gap:
            _say(GAP)
        for event in found.events:
            show(event)
        if not found.more:
            if not follow:
                return
            await asyncio.sleep(POLL_SECONDS)


def _say(sentence: str) -> None:
    """Tell of what is no event, also whoever reads JSON: some may be missing."""
    click.echo(sentence, err=True)


def _no_repository(glob: str) -> str:
    """Return what to tell whoever names a namespace where repositories are meant; "" else."""
    if not glob or "/" in glob or "*" in glob:
        return ""
    return f"no repository is called {glob[:100]}: all of a namespace are '{glob[:100]}/*'"


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
