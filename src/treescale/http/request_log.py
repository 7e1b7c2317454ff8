"""One log line per request, written when its answer has left, and counted: nobody waits for it."""

import logging
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from treescale.http.clients import peer_text
from treescale.http.request_record import new_id, record_of, request_id, told_id
from treescale.log import FrequentEvent, get_logger
from treescale.metrics.meters import Meters, Route

_PEER: Final = "/peer/"
_PER_SECOND: Final = 10_000
"""The digits of a time in a line; `round` is slower than all other fields together."""


@dataclass(slots=True)
class RequestLine:
    """What is told of a request, but for its time."""

    route: Route
    method: str
    path: str
    status: int
    ended: int
    """As `RequestRecord.ended`."""
    user: str
    client: str
    received: int
    sent: int
    told_id: str
    """What its client calls it, "" where it does not say."""

    @property
    def fields(self) -> dict[str, str | int]:
        """Return the fields of its line that another request may have, too."""
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "user": self.user,
            "client": self.client,
            "received": self.received,
            "sent": self.sent,
        }


class RepeatedLine:
    """The line of requests that are answered alike."""

    def __init__(self, line: RequestLine) -> None:
        """`line` is that of the first."""
        self.line = line
        self.event = FrequentEvent("request", **line.fields)


def line_of(request: web.BaseRequest, response: web.StreamResponse) -> RequestLine:
    """Return what is told of a request that was answered."""
    path, record = request.rel_url.raw_path, record_of(request)
    return RequestLine(
        Route.PEER if path.startswith(_PEER) else record.route,
        request.method,
        record.shown_path or path,
        response.status,
        record.ended,
        record.user,
        record.client or peer_text(request.remote),
        record.received,
        record.sent + _sent_at_once(request, response),
        told_id(request),
    )


class RequestLog(AbstractAccessLogger):
    """Hears from aiohttp of every answer, those to requests it could not read included."""

    _log = get_logger()

    def __init__(self, meters: Meters | None, logger: logging.Logger, log_format: str) -> None:
        """Count by `meters`; the rest is aiohttp's."""
        super().__init__(logger, log_format)
        self._meters = meters

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; `time` is seconds from the request's head to the answer's end.

        What other servers ask is for whoever debugs: they ping each second, and tell of their own
        refusals themselves.
        """
        line = line_of(request, response)
        self._count(line, time)
        write = self._log.debug if line.route is Route.PEER else self._log.info
        write("request", **line.fields, seconds=_shown(time), request_id=request_id(request))

    def log_again(self, repeated: RepeatedLine, time: float) -> None:
        """Write the line of one more request that was answered as others were."""
        line = repeated.line
        self._count(line, time)
        repeated.event.tell(seconds=_shown(time), request_id=line.told_id or new_id())

    def _count(self, line: RequestLine, time: float) -> None:
        if self._meters is not None:
            self._meters.request(line.route, line.method, line.ended or line.status, time)


def _shown(time: float) -> float:
    return int(time * _PER_SECOND) / _PER_SECOND


def _sent_at_once(request: web.BaseRequest, response: web.StreamResponse) -> int:
    """Return how many bytes of the answer's own body were given to the connection."""
    whole = response.body if isinstance(response, web.Response) else None
    return len(whole) if isinstance(whole, bytes) and request.method != "HEAD" else 0
