"""Pushes that were refused to users, counted in memory until they are told of: once a minute.

Of a user, a repository and a reason one event tells, however often that was. What anonymous callers
try, and users without the right to push, is nobody's news and would be a way to fill the log. A
crash loses them; each has its line in the log of the server.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.errors import (
    Failed,
    NameInvalid,
    OverLimit,
    ReadOnly,
    SizeInvalid,
    TagImmutable,
    TooLarge,
)
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import REQUEST_ID, Event, Kind, actor_of, record_all
from treescale.request_id import CLIENT

TOLD_MAX: Final = 100
"""At a write, of a worker."""
TOLD_OF_USER_MAX: Final = 10
"""Of them of one user: nobody drowns what others are refused."""


class Reason(StrEnum):
    """Why a push was refused."""

    READ_ONLY = "read-only"
    LIMIT = "limit"
    SIZE = "size"
    NAME = "name"
    IMMUTABLE = "immutable"


REASONS: Final = (
    (ReadOnly, Reason.READ_ONLY),
    (OverLimit, Reason.LIMIT),
    (TooLarge, Reason.SIZE),
    (SizeInvalid, Reason.SIZE),
    (NameInvalid, Reason.NAME),
    (TagImmutable, Reason.IMMUTABLE),
)


@dataclass(frozen=True, slots=True)
class _Refused:
    """What is told apart."""

    user: str
    repository: str
    reason: Reason


@dataclass(slots=True)
class _Told:
    """How often, in which request first, and from where that came."""

    request_id: str
    address: str
    count: int = 0


class RefusedUploads:
    """The refusals of this worker since it wrote last."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._refused: dict[_Refused, _Told] = {}

    def note(self, user: str, repository: str, error: Exception, request_id: str) -> None:
        """Count it, if it is one to be told of: `user` has logged in. Waits for nothing."""
        reason = next((reason for kind, reason in REASONS if isinstance(error, kind)), None)
        if reason is None or not user:
            return
        key = _Refused(user, "" if reason is Reason.NAME else repository, reason)
        if key not in self._refused:
            of_user = sum(each.user == user for each in self._refused)
            if len(self._refused) >= TOLD_MAX or of_user >= TOLD_OF_USER_MAX:
                return
            self._refused[key] = _Told(request_id, CLIENT.get())
        self._refused[key].count += 1

    async def write(self) -> None:
        """Record them, if there are any; raises DatabaseUnavailable, and keeps them."""
        refused, self._refused = self._refused, {}
        if not refused:
            return
        happened = [_event(key, told) for key, told in refused.items()]
        try:
            await self._connections.write(
                lambda connection: record_all(connection, happened), durable=False
            )
        except Failed:
            for key, told in self._refused.items():
                if key in refused:
                    refused[key].count += told.count
            self._refused = {**self._refused, **refused}
            raise


def _event(key: _Refused, told: _Told) -> Event:
    payload = {"reason": key.reason.value, "count": told.count, REQUEST_ID: told.request_id}
    return Event(
        Kind.UPLOAD_REFUSED,
        actor_of(key.user),
        key.repository or None,
        namespace=None if key.repository else key.user,  # of no repository that can be
        payload=payload,
        address=told.address,
    )
