"""`/audit`: who did what, from where; for the owners of a namespace, and for administrators."""

from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from treescale.auth.policy import Standing, may
from treescale.auth.roles import NO_MEMBER, Permission
from treescale.console.route import Answered, Asked, Streamed
from treescale.errors import Forbidden, NamespaceUnknown, PageInvalid, RequestInvalid
from treescale.events.audit import (
    ACTOR_CHARACTERS_MAX,
    AuditFilter,
    AuditRow,
    audit_cursor,
    audit_line,
    audit_row,
    chosen,
    moment_of,
    parse_time,
)
from treescale.events.filters import parse_filter
from treescale.metadata.database import Database
from treescale.metadata.events.audit import EVER, LOOKED_AT_ONCE_MAX, AuditLog, Moment, Span
from treescale.metadata.events.recorded import Recorded
from treescale.oci.names import check_namespace
from treescale.oci.pages import parse_page_size
from treescale.registry.naming.nearest import check_owned

LINES: Final = "application/x-ndjson"
NEWEST: Final = "newest"
OLDEST: Final = "oldest"


class AuditPage(msgspec.Struct):
    """Some of the audit log."""

    entries: list[AuditRow]
    next: str | None
    """What `after` has to be for those that follow; null when there are none yet. With a filter a
    page may be short, or empty, and there is more all the same."""


class AuditDesk:
    """What answers for the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = AuditLog(database.connections)

    async def read(self, asked: Asked) -> Answered | Streamed:
        """Give a page, or all of it as lines to whoever asks for those."""
        query = asked.query
        wanted = AuditFilter(
            parse_filter(query.get("kind", ""), "", query.get("repository", "")),
            query.get("actor", ""),
        )
        if len(wanted.actor) > ACTOR_CHARACTERS_MAX:
            raise RequestInvalid(f"an actor has at most {ACTOR_CHARACTERS_MAX} characters")
        span = await self._span(asked)
        if asked.is_administrator and span.namespace is not None and "after" not in query:
            await self._check_known(span, span.namespace)
        begin = moment_of(query["after"]) if "after" in query else span.begin
        if LINES in asked.headers.get("Accept", ""):
            return Streamed(LINES, self._lines(asked, span, begin, wanted))
        limit = parse_page_size([query["n"]] if "n" in query else [])
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        read = await self._log.after(span, begin, LOOKED_AT_ONCE_MAX)
        found, looked = chosen(read, wanted, limit)
        is_over = looked == len(read) < LOOKED_AT_ONCE_MAX
        last = None if is_over or not looked else audit_cursor(_moment(read[looked - 1]))
        return Answered(AuditPage([audit_row(each) for each in found], last))

    async def _lines(
        self, asked: Asked, span: Span, begin: Moment, wanted: AuditFilter
    ) -> AsyncGenerator[bytes, None]:
        """Yield all of it; ends soon after the right to it does."""
        assert asked.again is not None, "the dispatcher gives it"
        more = True
        while more:
            read = await self._log.after(span, begin, LOOKED_AT_ONCE_MAX)
            if lines := b"".join(audit_line(each) for each in read if wanted.matches(each)):
                yield lines
            more = len(read) == LOOKED_AT_ONCE_MAX
            if more:
                begin = _moment(read[-1])
                await self._namespace(await asked.again())

    async def _check_known(self, span: Span, namespace: str) -> None:
        """Raise NamespaceUnknown for a name that nobody has, and of which nothing is told."""
        if not await self._log.after(span, span.begin, 1):
            await check_owned(self._database, namespace)

    async def _span(self, asked: Asked) -> Span:
        """Return what is looked at; raises what keeps the caller from it."""
        query = asked.query
        order = query.get("order", NEWEST)
        if order not in (NEWEST, OLDEST):
            raise RequestInvalid(f"order is {NEWEST} or {OLDEST}")
        namespace, begun = await self._namespace(asked)
        now = await self._database.servers.now()
        since = parse_time(query["since"], now) if "since" in query else 0.0
        until = parse_time(query["until"], now) if "until" in query else EVER
        return Span(namespace, max(since, begun), until, newest_first=order == NEWEST)

    async def _namespace(self, asked: Asked) -> tuple[str | None, float]:
        """Return whose entries are asked for, None being all, and since when they are hers to see.

        What was of an earlier namespace of that name is for administrators alone. Raises
        NamespaceUnknown for a stranger, Forbidden for a member that is no owner.
        """
        principal = asked.principal
        if asked.is_administrator:
            told = asked.query.get("namespace")
            return None if told is None else check_namespace(told), 0.0
        name = check_namespace(asked.query.get("namespace", principal.user))
        unseen = NamespaceUnknown(f"no namespace {name} in which you have a role")
        standing = Standing(grants=asked.held.get(name, NO_MEMBER).grants)
        if not may(principal, name, Permission.AUDIT, standing):
            if name in asked.held or name == principal.user:
                raise Forbidden(f"an owner of {name} may read its audit log")
            raise unseen
        try:
            found = await self._database.organisations.get(name)
        except NamespaceUnknown:
            raise unseen from None
        return name, found.created or 0.0


def _moment(event: Recorded) -> Moment:
    return Moment(event.at, event.event_id)
