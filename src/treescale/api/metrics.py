"""`/metrics`: what Prometheus reads, for administrators; on an address of its own for anybody.

What is on the page is another's affair (`server/watch`). It is made in a bounded time whatever else
is away, so nothing here waits, and a request for anything else on that address is refused.
"""

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from treescale.auth.scopes import TokenScope
from treescale.errors import NameUnknown, Unsupported
from treescale.http.administrators import Administrators
from treescale.http.call import Call, add_common_headers
from treescale.http.dispatch import takes_gzip
from treescale.http.errors import as_failed, error_response, lookup
from treescale.http.request_record import record_of, request_id
from treescale.log import get_logger
from treescale.metrics.meters import Route
from treescale.metrics.page import CONTENT_TYPE

Page = Callable[[], Awaitable[bytes]]
"""Returns the page as it is now."""
PATH: Final = "/metrics"
METHODS: Final = ("GET", "HEAD")
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class MetricsDesk:
    """What answers `/metrics`."""

    page: Page
    administrators: Administrators

    async def answer(self, call: Call) -> web.StreamResponse:
        """Answer an administrator; raises Unsupported, CredentialsInvalid."""
        _check_method(call.request)
        await self.administrators.check(call, TokenScope.METRICS)
        return await _answer(call.request, self.page)


async def answer_anybody(page: Page, request: web.BaseRequest) -> web.StreamResponse:
    """Answer whoever asks on the address that is for this alone, whatever happens."""
    try:
        response = await _answer_page(request, page)
    except Exception as error:  # noqa: BLE001  this is the one door
        failed = as_failed(error)
        if lookup(failed) is None:
            get_logger().error("request.failed", request_id=request_id(request), exc_info=failed)
        response = error_response(failed, request_id(request))
    add_common_headers(response)
    return response


async def _answer_page(request: web.BaseRequest, page: Page) -> web.Response:
    if request.rel_url.raw_path != PATH:
        raise NameUnknown(f"this address has {PATH} alone; the registry is at another")
    record_of(request).route = Route.METRICS
    _check_method(request)
    return await _answer(request, page)


def _check_method(request: web.BaseRequest) -> None:
    if request.method not in METHODS:
        raise Unsupported(f"use {' or '.join(METHODS)} here", allowed=METHODS)


async def _answer(request: web.BaseRequest, page: Page) -> web.Response:
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding",
    }
    body = await page()
    if takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(len(body))})
    return web.Response(body=body, headers=headers)
