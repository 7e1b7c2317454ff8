"""One log line per request, written when its answer has left: nobody waits for the log."""

import secrets
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from treescale.log import get_logger

request_id_characters_max: Final = 64
USER: Final = web.RequestKey("user", str)
"""Who asks; set when the caller is known."""
_PEER: Final = "/peer/"
_ID: Final = web.RequestKey("id", str)


class RequestLog(AbstractAccessLogger):
    """Hears from aiohttp of every answer, those to requests it could not read included."""

    _log = get_logger()

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; `time` is seconds from the request's head to the answer's end.

        What other servers ask is for whoever debugs: they ping each second, and tell of their own
        refusals themselves.
        """
        of_server = request.rel_url.raw_path.startswith(_PEER)
        write = self._log.debug if of_server else self._log.info
        write(
            "request",
            method=request.method,
            path=request.rel_url.raw_path,
            status=response.status,
            user=request.get(USER, ""),
            seconds=round(time, 4),
            request_id=request_id(request),
        )


def request_id(request: web.BaseRequest) -> str:
    """Return what names this request in all its log lines: the client's own word, or ours."""
    known = request.get(_ID)
    if known is None:
        known = request.headers.get("X-Request-Id", "")[:request_id_characters_max]
        known = known or secrets.token_hex(8)
        request[_ID] = known
    return known
