"""What web pages of other origins may ask and read (the Fetch standard, "CORS protocol").

Nothing, unless the operator names their origins. A browser asks first, without credentials, so that
is answered before anybody is identified. Cookies are never allowed: a page brings a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

ANY: Final = "*"
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
ASKED: Final = (
    "Accept, Authorization, Cache-Control, Content-Range, Content-Type, If-Match, If-None-Match, "
    "If-Range, Range"
)
SHOWN: Final = (
    "Accept-Ranges, Content-Range, Docker-Content-Digest, Docker-Distribution-Api-Version, "
    "Docker-Upload-UUID, ETag, Link, Location, OCI-Filters-Applied, OCI-Subject, OCI-Tag, Range, "
    "Retry-After, WWW-Authenticate"
)
PREFLIGHT_SECONDS: Final = 600
"""How long a browser may remember what it was told."""
_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins whose pages may ask; `*` for all."""

    origins: frozenset[str] = frozenset()

    def headers(self, request: web.BaseRequest) -> Mapping[str, str]:
        """Return what an answer to this request carries."""
        if not self.origins:
            return _NOTHING
        allowed = self._allowed(request)
        vary = {} if ANY in self.origins else {"Vary": "Origin"}
        if allowed is None:
            return vary
        return {
            **vary,
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Expose-Headers": SHOWN,
        }

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a browser that asks what a page may ask; None for other requests."""
        if (
            request.method != "OPTIONS"
            or "Access-Control-Request-Method" not in request.headers
            or self._allowed(request) is None
        ):
            return None
        headers = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": ASKED,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    def _allowed(self, request: web.BaseRequest) -> str | None:
        """Return the origin to name in the answer; None when the request's may not read it."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if ANY in self.origins:
            return ANY
        return origin if origin in self.origins else None


NO_CORS: Final = Cors()
