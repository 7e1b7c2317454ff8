"""`/events`: the log in pages, or followed for as long as somebody reads.

What a reader is shown is judged as it is read, and who she is again every `BEAT_SECONDS`: a stream
ends soon after the right to it does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from treescale.console.route import Answered, Asked, Streamed
from treescale.errors import NamespaceUnknown, PageInvalid, RequestInvalid
from treescale.events.filters import EventFilter, parse_filter
from treescale.events.live import LiveLog
from treescale.events.rights import Reader, shown
from treescale.events.rows import (
    GAP,
    HEARTBEAT,
    NEWEST,
    OLDEST,
    EventRow,
    cursor,
    line,
    mark_line,
    mark_server_sent,
    place_of,
    row_of,
    server_sent,
)
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.organisations import Organisations
from treescale.metadata.records import Repository
from treescale.oci.pages import parse_page_size

BEAT_SECONDS: Final = 15.0
"""A stream on which nothing happens says so as often, and the reader's rights are looked at."""
SERVER_SENT: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
_YES: Final = ("1", "true")
_NO: Final = ("", "0", "false")


class EventPage(msgspec.Struct):
    """Some of the log, in order."""

    events: list[EventRow]
    next: str
    """What `after` has to be for those that follow, now or later."""
    more: bool
    """Whether the log goes on already: this page may be short, or empty, all the same."""
    gap: bool
    """Whether events before these, that `after` had not seen, are kept no more."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How a stream is written."""

    content_type: str
    begin: bytes
    event: Callable[[Recorded], bytes]
    mark: Callable[[str, Place], bytes]
    """For what is no event: a word, and how far the log was read."""


_SERVER_SENT: Final = _Form(SERVER_SENT, b": follow\n\n", server_sent, mark_server_sent)
_LINES: Final = _Form(LINES, b"", line, mark_line)


class EventDesk:
    """What answers for the events."""

    def __init__(self, live: LiveLog, organisations: Organisations) -> None:
        self._live = live
        self._organisations = organisations

    async def read(self, asked: Asked) -> Answered | Streamed:
        """Give a page, or a stream to whoever asks for one."""
        query = asked.query
        wanted = parse_filter(
            query.get("kind", ""), query.get("namespace", ""), query.get("repository", "")
        )
        form = _form(asked)
        if form is None:
            return await self._page(asked, wanted)
        if "n" in query:
            raise RequestInvalid("n is for pages: whoever follows reads all there is")
        after = _begin(asked.headers.get("Last-Event-ID") or query.get("after", NEWEST))
        reader = _Reading(asked, wanted, await self._begun(asked))
        headers = {"X-Accel-Buffering": "no"}
        return Streamed(form.content_type, self._stream(reader, form, after), headers)

    async def _begun(self, asked: Asked) -> float:
        """Return since when the caller's name is theirs, 0 where nobody wrote it down."""
        try:
            found = await self._organisations.get(asked.principal.user)
        except NamespaceUnknown:
            return 0.0
        return found.created or 0.0

    async def _page(self, asked: Asked, wanted: EventFilter) -> Answered:
        given = [asked.query["n"]] if "n" in asked.query else []
        limit = parse_page_size(given)
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        after = _begin(asked.query.get("after", OLDEST))
        reader = _Reading(asked, wanted, await self._begun(asked))
        page = await self._live.page(reader.select, after, limit)
        content = EventPage(
            [row_of(event) for event in page.events], cursor(page.place), page.more, page.gap
        )
        return Answered(content)

    async def _stream(
        self, reader: "_Reading", form: _Form, after: Place | None
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        looked, sent = loop.time(), loop.time()
        begun = False
        user = reader.user
        async for batch in self._live.follow(reader.select, after, BEAT_SECONDS, user):
            pieces = [form.mark(GAP, batch.place)] if batch.gap else []
            pieces += [form.event(each) for each in batch.events]
            if not begun:
                pieces.insert(0, form.begin)
                begun = True
            elif not pieces and loop.time() - sent >= BEAT_SECONDS / 2:  # less: it reads on
                pieces = [form.mark(HEARTBEAT, batch.place)]
            if loop.time() - looked >= BEAT_SECONDS:
                await reader.look_again()
                looked = loop.time()
            if pieces:
                yield b"".join(pieces)
                sent = loop.time()


class _Reading:
    """What one reader is shown."""

    def __init__(self, asked: Asked, wanted: EventFilter, begun: float) -> None:
        self.user = asked.principal.user
        self._asked = asked
        self._begun = begun
        self._reader = _reader_of(asked, begun)
        self._wanted = wanted

    def select(self, event: Recorded, repository: Repository | None) -> Recorded | None:
        """Return the event as she is shown it, None when it is not for her, or not wanted."""
        if not self._wanted.matches(event):
            return None
        return shown(self._reader, event, repository)

    async def look_again(self) -> None:
        """Look who she is now; raises what keeps her out."""
        assert self._asked.again is not None, "the dispatcher gives it"
        self._reader = _reader_of(await self._asked.again(), self._begun)


def _reader_of(asked: Asked, begun: float) -> Reader:
    return Reader(asked.principal, asked.is_administrator, asked.held, begun)


def _begin(text: str) -> Place | None:
    """Return after which place to begin, None: now; raises PageInvalid."""
    return {OLDEST: Place(0), NEWEST: None}[text] if text in (OLDEST, NEWEST) else place_of(text)


def _form(asked: Asked) -> _Form | None:
    """Return how the stream that is asked for is written; None for a page."""
    accepted = asked.headers.get("Accept", "")
    follow = asked.query.get("follow", "")
    if follow not in (*_YES, *_NO):
        raise RequestInvalid("follow is 1 or 0")
    if SERVER_SENT in accepted:
        return _SERVER_SENT
    return _LINES if LINES in accepted or follow in _YES else None
