"""What is asked of the audit log: of whom, what, when; and its rows as they go out.

Who may ask is for `auth.policy` to say: the owners of a namespace for it, administrators for all.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from treescale.errors import PageInvalid, RequestInvalid, SettingInvalid
from treescale.events.filters import EventFilter
from treescale.events.rows import EventRow, row_of
from treescale.lease_times import parse_seconds
from treescale.metadata.events.audit import Moment
from treescale.metadata.events.recorded import Recorded

ACTOR_CHARACTERS_MAX: Final = 255
CURSOR_CHARACTERS_MAX: Final = 128
_VERSION: Final = "a1"
_MARK: Final = " "
"""Between the parts of a cursor: no number nor id has one."""


class AuditRow(EventRow):
    """An event as the audit log has it."""

    address: str | None
    """Of the client that did it; null for what no client's request did."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; what is empty leaves out none."""

    events: EventFilter
    actor: str = ""

    def matches(self, event: Recorded) -> bool:
        """Say whether it is wanted."""
        return (not self.actor or event.actor == self.actor) and self.events.matches(event)


def chosen(read: Iterable[Recorded], wanted: AuditFilter, limit: int) -> tuple[list[Recorded], int]:
    """Return up to `limit` of these that are wanted, and how many were looked at for that."""
    found: list[Recorded] = []
    looked = 0
    for event in read:
        if len(found) == limit:
            break
        looked += 1
        if wanted.matches(event):
            found.append(event)
    return found, looked


def audit_row(event: Recorded) -> AuditRow:
    """Return the entry as JSON has it."""
    return AuditRow(**msgspec.structs.asdict(row_of(event)), address=event.address)


def audit_line(event: Recorded) -> bytes:
    """Return the entry as a line of JSON."""
    return msgspec.json.encode(audit_row(event)) + b"\n"


def parse_time(text: str, now: float) -> float:
    """Return a time in seconds since 1970: of `7d` so long before now, or of what ISO 8601 says.

    A time without a zone is UTC. Raises RequestInvalid.
    """
    try:
        return now - parse_seconds(text)
    except SettingInvalid:
        pass
    try:
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RequestInvalid(
            "say when: so long ago, such as 24h or 7d, or a time such as 2026-12-01T08:30:00Z"
        ) from None


def audit_cursor(moment: Moment) -> str:
    """Return what says that all up to an entry was read."""
    text = _MARK.join((_VERSION, repr(moment.at), moment.event_id))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def moment_of(text: str) -> Moment:
    """Return up to where a cursor has read; raises PageInvalid for what is none."""
    wrong = PageInvalid("after is a cursor that this API has given out")
    if len(text) > CURSOR_CHARACTERS_MAX or not text.isascii():
        raise wrong
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        version, at, event_id = plain.split(_MARK)
        moment = Moment(float(at), event_id)
    except (binascii.Error, ValueError):
        raise wrong from None
    if version != _VERSION or not 0 <= moment.at < 2**63 or not event_id.isprintable():
        raise wrong
    return moment
