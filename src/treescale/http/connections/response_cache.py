"""Answers that leave before their request is parsed: the same bytes get the same answer again.

An answer is kept under the exact bytes of its request's head and where that came from. Before it is
given again, everything it was decided by is looked at anew (`Repeatable.holds`): the token and its
rights, what is stored, limits. So it never outlives what the usual way would still say; where
anything is unusual, or unknown, there is no answer here, and the request goes the usual way.

Only GET and HEAD without a body are kept, and answers 200 that leave a connection open; from the
second time on, for most bytes come once. Bounded in bytes, the least lately used forgotten first.
"""

from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.streams import EMPTY_PAYLOAD

from treescale.http.request_log import RepeatedLine, line_of
from treescale.http.request_record import Repeatable, record_of

BYTES_MAX: Final = 4 * 1024 * 1024
"""In each worker."""
ENTRY_BYTES: Final = 3 * 1024
"""What an entry costs beside its bytes, about."""
ASKED_MAX: Final = 4096
"""Heads of which it is known that they were seen: a quarter of a megabyte."""
HEAD_BYTES_MAX: Final = 8 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
"""A longer one is worth the usual way, and must not crowd out others."""
_BEGINNINGS: Final = (b"GET /v2/", b"HEAD /v2/")
HEAD_END: Final = b"\r\n\r\n"
_DATE: Final = "Date"

Place = tuple[object, bool]
"""Where a request came from: the other end's address, and whether a proxy does not say for whom."""


def place_of(peername: object, *, nameless: bool) -> Place:
    """Return where a connection's requests come from; its port makes no difference."""
    return (peername[0] if isinstance(peername, tuple) and peername else peername), nameless


def is_candidate(data: bytes) -> bool:
    """Say whether this is one whole head, of a request whose answer may be kept."""
    return (
        data.startswith(_BEGINNINGS)
        and len(data) <= HEAD_BYTES_MAX
        and data.find(HEAD_END) == len(data) - len(HEAD_END)
    )


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """An answer, but for its date; how it is logged; and when it may be given."""

    before: bytes
    """Its head up to the date."""
    after: bytes
    """The rest, and the body."""
    logged: RepeatedLine
    repeatable: Repeatable

    def rendered(self) -> bytes:
        """Return the answer as it leaves now."""
        return b"".join((self.before, rfc822_formatted_time().encode(), self.after))


def cached(request: web.BaseRequest, response: web.StreamResponse) -> CachedResponse | None:
    """Return an answer that has left so that it can leave again; None when it may not."""
    repeatable = record_of(request).repeatable
    if (
        repeatable is None
        or not isinstance(response, web.Response)
        or response.status != HTTPStatus.OK
        or request.version != HttpVersion11  # others close, or say that they do not
        or "Expect" in request.headers  # it may be answered twice
        or request.content is not EMPTY_PAYLOAD  # a body would follow the head, also next time
        or "Connection" in response.headers  # it closes
    ):
        return None
    body = b"" if request.method == "HEAD" else response.body
    if not isinstance(body, bytes) or len(body) > BODY_BYTES_MAX or not repeatable.holds():
        return None
    head = f"HTTP/1.1 {response.status} {response.reason}\r\n"
    before, date, after = (
        head + "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    ).partition(f"\r\n{_DATE}: ")
    rest = after[after.find("\r\n") :]
    logged = RepeatedLine(line_of(request, response))
    return CachedResponse(
        (before + date).encode(), rest.encode() + b"\r\n" + body, logged, repeatable
    )


class ResponseCache:
    """The answers of one server that may be given again."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[tuple[bytes, Place], CachedResponse] = OrderedDict()
        self._bytes = 0
        self._asked: set[int] = set()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def find(self, head: bytes, place: Place) -> CachedResponse | None:
        """Return the answer to these bytes from there, if everything it needs still holds."""
        key = head, place
        found = self._kept.get(key)
        if found is None:
            return None
        if not found.repeatable.holds():
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return found

    def is_asked_again(self, head: bytes, place: Place) -> bool:
        """Say whether these bytes came from there before, lately: most come once in their life."""
        number = hash((head, place))
        if number in self._asked:
            return True
        if len(self._asked) >= ASKED_MAX:
            self._asked.clear()
        self._asked.add(number)
        return False

    def put(self, head: bytes, place: Place, response: CachedResponse) -> None:
        """Keep an answer to these bytes from there."""
        key = head, place
        if key in self._kept:
            self._forget(key)
        self._kept[key] = response
        self._bytes += _cost(head, response)
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._kept)))

    def close(self) -> None:
        """Give no answer any more: the server ends, and its connections have to hear of it."""
        self._bytes_max = 0
        self._kept.clear()
        self._bytes = 0

    def _forget(self, key: tuple[bytes, Place]) -> None:
        self._bytes -= _cost(key[0], self._kept.pop(key))


def _cost(head: bytes, response: CachedResponse) -> int:
    return len(head) + len(response.before) + len(response.after) + ENTRY_BYTES
