"""One request on its way: what it asks for, who asks, and what it may use."""

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from treescale.api.body import RequestBody
from treescale.api.guard import Caller, Guard
from treescale.oci.paths import Route
from treescale.registry.publish import Publishing
from treescale.registry.pull import Pulls
from treescale.registry.push import Pushes
from treescale.traffic import Traffic

OCTET_STREAM: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the handlers work with."""

    pushes: Pushes
    pulls: Pulls
    publishing: Publishing
    guard: Guard
    traffic: Traffic


@dataclass(slots=True)
class Call:
    """A request with its route and its caller; `started` once an answer has begun to leave."""

    request: web.BaseRequest
    route: Route
    caller: Caller
    rooms: Rooms
    started: web.StreamResponse | None = None

    @property
    def repository(self) -> str:
        """Return the repository's name."""
        return self.route.repository

    @property
    def body(self) -> RequestBody:
        """Return the request's body."""
        return RequestBody(self.request, self.rooms.traffic)

    def parameters(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return self.request.query.getall(name, [])

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return self.request.query.get(name)

    def has(self, etag: str) -> bool:
        """Return whether the client says it has this already (If-None-Match, RFC 9110 13.1.2)."""
        known = self.request.if_none_match or ()
        return any(tag.value in ("*", etag.strip('"')) for tag in known)

    async def begin(self, response: web.StreamResponse) -> None:
        """Send the header of an answer whose body follows; from here on errors cut it off."""
        self.started = response
        stamp(response)
        await response.prepare(self.request)

    @property
    def head(self) -> bool:
        """Return whether only the header is wanted."""
        return self.request.method == "HEAD"


def stamp(response: web.StreamResponse) -> None:
    """Give an answer what every answer carries."""
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    response.headers["Server"] = "TreeScale"


def empty(status: int, headers: dict[str, str]) -> web.Response:
    """Return an answer without a body; its Content-Length is 0 unless the headers say otherwise."""
    return web.Response(status=status, headers=headers)


def json_response(
    call: Call, content: object, content_type: str, headers: dict[str, str]
) -> web.Response:
    """Return a JSON answer with exactly this content type; for HEAD only its header."""
    return whole(call, msgspec.json.encode(content), content_type, headers)


def whole(call: Call, payload: bytes, content_type: str, headers: dict[str, str]) -> web.Response:
    """Return a complete answer; for HEAD its header with the length the GET would have."""
    headers = {**headers, "Content-Type": content_type}
    if call.head:
        return web.Response(headers={**headers, "Content-Length": str(len(payload))})
    return web.Response(body=payload, headers=headers)
