"""An event as it goes out: a JSON object, a line of it, or a server-sent event. Pure.

A cursor says how far somebody has read, and which event that was: by that the log knows whether it
is still the one that was read. It is opaque: only who made it reads it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from treescale.errors import PageInvalid
from treescale.metadata.events.recorded import Place, Recorded

OLDEST: Final = "oldest"
NEWEST: Final = "newest"
"""Words that stand for a cursor: before all that is kept, and after it."""
CURSOR_CHARACTERS_MAX: Final = 64
_MARK: Final = re.compile(r"[\x21-\x7e]{0,16}")
GAP: Final = "gap"
HEARTBEAT: Final = "heartbeat"
"""Marks among the events of a stream, which are none."""
LEFT_OUT: Final = "left_out"
"""In a payload, what it lacks."""
_VERSIONS: Final = ("1.", "2.")
"""A number alone, as cursors were at first; a number, a point and a mark."""


class EventRow(msgspec.Struct):
    """An event of the log. Times are UTC."""

    sequence: int
    """Grows with each event; there may be holes."""
    id: str
    """A UUID: the same wherever this event is told of."""
    kind: str
    at: datetime
    actor: str | None
    """Who did it; null for who may only pull."""
    request_id: str | None
    """Of the client's request that did it, as the server's log has it; null likewise."""
    namespace: str | None
    repository: str | None
    reference: str | None
    """A tag."""
    digest: str | None
    previous_digest: str | None
    """What a pushed tag pointed at before."""
    payload: Mapping[str, Any]


def row_of(event: Recorded) -> EventRow:
    """Return the event as JSON has it."""
    return EventRow(
        sequence=event.sequence,
        id=event.event_id,
        kind=event.kind,
        at=datetime.fromtimestamp(int(event.at * 1000) / 1000, UTC),
        actor=event.actor or None,
        request_id=event.request_id,
        namespace=event.namespace,
        repository=event.repository,
        reference=event.reference,
        digest=event.digest,
        previous_digest=event.previous_digest,
        payload=event.payload,
    )


def json_of(event: Recorded) -> bytes:
    """Return the event as a JSON object."""
    return msgspec.json.encode(row_of(event))


def json_within(event: Recorded, limit: int) -> bytes | None:
    """Return the event as a JSON object of so many bytes at most; None when that cannot be.

    Members of the payload go for that, the largest first; `left_out` in it has their names.
    """
    body, payload, left_out = json_of(event), {**event.payload}, list[str]()
    while len(body) > limit and payload:
        largest = max(payload, key=lambda name: len(msgspec.json.encode(payload[name])))
        del payload[largest]
        left_out.append(largest)
        body = json_of(replace(event, payload={**payload, LEFT_OUT: left_out}))
    return body if len(body) <= limit else None


def line(event: Recorded) -> bytes:
    """Return the event as a line of JSON."""
    return json_of(event) + b"\n"


def mark_line(kind: str, place: Place) -> bytes:
    """Return a line that is no event: how far the log was read, or that some of it is gone."""
    return msgspec.json.encode({"kind": kind, "cursor": cursor(place)}) + b"\n"


def server_sent(event: Recorded) -> bytes:
    """Return the event as one of a stream of server-sent events, by whose id one goes on."""
    data = json_of(event).decode()
    return f"id: {cursor(event.place)}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def mark_server_sent(kind: str, place: Place) -> bytes:
    """Return a mark as a server-sent event; a heartbeat as a comment, with how far it was read."""
    told = ": heartbeat" if kind == HEARTBEAT else f"event: {kind}\ndata: {{}}"
    return f"id: {cursor(place)}\n{told}\n\n".encode()


def cursor(place: Place) -> str:
    """Return what says that all up to a place was read."""
    text = f"{_VERSIONS[1]}{place.sequence}.{place.mark}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(text: str) -> Place:
    """Return up to where a cursor has read; raises PageInvalid for what is none."""
    wrong = PageInvalid(f"after is a cursor that this API has given out, {OLDEST} or {NEWEST}")
    if len(text) > CURSOR_CHARACTERS_MAX or not text.isascii():
        raise wrong
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise wrong from None
    number, _, mark = plain[2:].partition(".")
    if not plain.startswith(_VERSIONS) or not (number.isascii() and number.isdecimal()):
        raise wrong
    if int(number) >= 2**63 or _MARK.fullmatch(mark) is None:
        raise wrong
    return Place(int(number), mark)
