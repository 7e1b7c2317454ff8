"""What is noted of a request on its way, for its line in the log and for whoever answers it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from treescale.http.limits import LIMITS, Limits
from treescale.http.proxy.origin import Forwarding
from treescale.metrics.meters import Route

REQUEST_ID_CHARACTERS_MAX: Final = 64
_IDS_AT_ONCE: Final = 256
_ID_CHARACTERS: Final = 16


def _nothing() -> None:
    """Note nothing: the connection is known as one of somebody who is logged in."""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """An answer that the same request may get again without being looked at, from memory alone."""

    holds: Callable[[], bool]
    """Whether all that it was decided by is still so; at once, and from memory."""
    count: Callable[[], None]
    """Counts what it is beside a request: a pull."""


def uncounted() -> None:
    """Count nothing: the answer is no pull."""


@dataclass(slots=True)
class RequestRecord:
    """One for each request: to ask the request itself for each of these costs more than all."""

    limits: Limits = LIMITS
    """Those of the connection that it came on."""
    log_in: Callable[[], None] = _nothing
    """Has the connection known as one of somebody who is logged in."""
    nameless: bool = False
    """Whether a PROXY header named nobody: what is forwarded may be a client's own word."""
    forwarding: Forwarding | None = None
    """What a trusted proxy says of it, once that was read."""
    client: str = ""
    """The address of whoever asks, once it is known."""
    user: str = ""
    """Who asks, once it is proven; "" for the anonymous."""
    received: int = 0
    sent: int = 0
    """Bytes of bodies that were read, and that were written piece by piece."""
    shown_path: str = ""
    """What the log has in place of a path that is secret."""
    request_id: str = ""
    route: Route = Route.OTHER
    """What it asks for, once it is known."""
    ended: int = 0
    """How it ended, where the status does not say so: LEFT or CUT."""
    content: Repeatable | None = None
    """Said by a handler of its answer, as far as that depends on what is stored."""
    repeatable: Repeatable | None = None
    """The same, and its caller's rights. None: the request is to be looked at each time."""


_RECORD: Final = web.RequestKey("record", RequestRecord)


def record_of(request: web.BaseRequest) -> RequestRecord:
    """Return what is noted of this request."""
    try:
        return request[_RECORD]
    except KeyError:
        return begin_record(request, RequestRecord())


def begin_record(request: web.BaseRequest, record: RequestRecord) -> RequestRecord:
    """Begin to note things of this request, and return the record."""
    request[_RECORD] = record
    return record


def note_user(request: web.BaseRequest, user: str) -> None:
    """Note who asks, as soon as it is proven: "" for the anonymous."""
    record = record_of(request)
    record.user = user
    if user:
        record.log_in()


def note_login(request: web.BaseRequest) -> None:
    """Note that whoever asks has proven a login, or to be another server."""
    record_of(request).log_in()


def request_id(request: web.BaseRequest) -> str:
    """Return what names this request in all its log lines: the client's own word, or ours."""
    record = record_of(request)
    if not record.request_id:
        record.request_id = told_id(request) or new_id()
    return record.request_id


def told_id(request: web.BaseRequest) -> str:
    """Return what the client calls the request, "" where it does not say."""
    told = request.headers.get("X-Request-Id", "")[:REQUEST_ID_CHARACTERS_MAX]
    # Bytes that are no UTF-8 are not printable: no answer, nor span, could repeat them.
    return told if told.isprintable() else ""


_ids: list[str] = []
"""Some that were not given out yet: the system is asked for many at once. None before a fork."""


def new_id() -> str:
    """Return a name for a request that has none."""
    if not _ids:
        text = secrets.token_hex(_IDS_AT_ONCE * _ID_CHARACTERS // 2)
        starts = range(0, len(text), _ID_CHARACTERS)
        _ids.extend(text[start : start + _ID_CHARACTERS] for start in starts)
    return _ids.pop()
