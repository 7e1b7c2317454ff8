"""An event as the log has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
