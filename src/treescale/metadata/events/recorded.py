"""An event as the log has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

_MARK_CHARACTERS: Final = 12
"""48 bits of chance."""


class Place(NamedTuple):
    """How far somebody has read the log, and which event that was."""

    sequence: int
    mark: str = ""
    """The event's; "" where it is not known, and nobody can tell whether that is still the same."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of the log. `at` is the database's time, in seconds since 1970."""

    sequence: int
    event_id: str
    kind: str
    """Of `recording.Kind`, or of a later version."""
    at: float
    actor: str
    namespace: str | None = None
    repository: str | None = None
    reference: str | None = None
    digest: str | None = None
    previous_digest: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    """Of the client's request that did it; None when none did."""
    address: str | None = None
    """Of that client. For the audit log alone: it goes to nobody who follows."""

    @property
    def mark(self) -> str:
        """Return what tells the event from another that was given its number."""
        return self.event_id[-_MARK_CHARACTERS:]

    @property
    def place(self) -> Place:
        """Return where whoever has read this one stands."""
        return Place(self.sequence, self.mark)
