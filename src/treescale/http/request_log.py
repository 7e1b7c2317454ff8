"""One log line per request, written when its answer has left, and counted: nobody waits for it."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from treescale.http.clients import peer_text
from treescale.http.request_record import record_of, request_id
from treescale.log import get_logger
from treescale.metrics.meters import Meters, Route

_PEER: Final = "/peer/"
_PER_SECOND: Final = 10_000
"""The digits of a time in a line; `round` is slower than all other fields together."""


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
        path = request.rel_url.raw_path
        record = record_of(request)
        peer = path.startswith(_PEER)
        if self._meters is not None:
            route = Route.PEER if peer else record.route
            self._meters.request(route, request.method, record.ended or response.status, time)
        write = self._log.debug if peer else self._log.info
        write(
            "request",
            method=request.method,
            path=record.shown_path or path,
            status=response.status,
            user=record.user,
            client=record.client or peer_text(request.remote),
            received=record.received,
            sent=record.sent + _sent_at_once(request, response),
            seconds=int(time * _PER_SECOND) / _PER_SECOND,
            request_id=request_id(request),
        )


def _sent_at_once(request: web.BaseRequest, response: web.StreamResponse) -> int:
    """Return how many bytes of the answer's own body were given to the connection."""
    whole = response.body if isinstance(response, web.Response) else None
    return len(whole) if isinstance(whole, bytes) and request.method != "HEAD" else 0
