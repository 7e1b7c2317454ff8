"""One request on its way: what it asks for, who asks, and what it may use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from treescale.errors import RequestInvalid
from treescale.http.authentication import Authenticator, Caller
from treescale.http.body import RequestBody
from treescale.metrics.traffic import TrafficCounters
from treescale.oci.conditions import Condition, parse_condition
from treescale.oci.paths import Resource
from treescale.oci.query import query_values
from treescale.registry.counted.refused import RefusedUploads
from treescale.registry.manifests import ManifestService
from treescale.registry.pull import Pulls
from treescale.registry.push import Pushes

OCTET_STREAM: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Service:
    """What the handlers work with."""

    pushes: Pushes
    pulls: Pulls
    publishing: ManifestService
    authenticator: Authenticator
    traffic: TrafficCounters
    refused: RefusedUploads
    new_boundary: Callable[[], str]
    """What parts of an answer are told apart by: never the same, and in no blob."""


@dataclass(slots=True)
class Call:
    """A request with its resource and its caller; `started` once an answer has begun to leave."""

    request: web.BaseRequest
    resource: Resource
    caller: Caller
    rooms: Service
    started: web.StreamResponse | None = None

    @property
    def repository(self) -> str:
        """Return the repository's name."""
        return self.resource.repository

    @property
    def body(self) -> RequestBody:
        """Return the request's body."""
        return RequestBody(self.request, self.rooms.traffic)

    def parameters(self, name: str) -> list[str]:
        """Return all values of a query parameter; raises RequestInvalid. A plus is a plus."""
        return query_values(self.request.rel_url.raw_query_string, name)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter; raises RequestInvalid."""
        return next(iter(self.parameters(name)), None)

    def form_parameters(self, name: str) -> list[str]:
        """Return all values of a query parameter written as in a form: a plus is a blank."""
        return self.request.query.getall(name, [])

    def condition(self) -> Condition | None:
        """Return what must be true for a change to be made; None for no condition.

        Raises RequestInvalid for one that is not understood.
        """
        headers = self.request.headers
        return parse_condition(headers.getall("If-Match", ()), headers.getall("If-None-Match", ()))

    def has_already(self, digest: str) -> bool:
        """Return whether the reader says that it has this; raises PreconditionFailed (If-Match).

        In the order of RFC 9110, 13.2.2. An If-None-Match that is not understood is passed over:
        the whole answer is always right.
        """
        headers = self.request.headers
        if "If-Match" not in headers and "If-None-Match" not in headers:
            return False
        match = headers.getall("If-Match", ())
        none_match = headers.getall("If-None-Match", ())
        try:
            condition = parse_condition(match, none_match)
        except RequestInvalid:
            condition = parse_condition(match, ())
        if condition is None:
            return False
        condition.check_match(digest)
        return condition.holds_already(digest)

    async def begin(self, response: web.StreamResponse) -> None:
        """Send the header of an answer whose body follows; from here on errors cut it off."""
        self.started = response
        self.add_common_headers(response)
        if not self.request.content.is_eof():
            response.force_close()  # said in the header, which leaves now
        await response.prepare(self.request)

    def add_common_headers(self, response: web.StreamResponse) -> None:
        """Give the answer what every answer to this request carries."""
        add_common_headers(response)
        response.headers.update(self.rooms.authenticator.cors.headers(self.request))

    @property
    def head(self) -> bool:
        """Return whether only the header is wanted."""
        return self.request.method == "HEAD"


def add_common_headers(response: web.StreamResponse) -> None:
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
    return bytes_response(call, msgspec.json.encode(content), content_type, headers)


def bytes_response(
    call: Call, payload: bytes, content_type: str, headers: dict[str, str]
) -> web.Response:
    """Return a complete answer; for HEAD its header with the length the GET would have."""
    headers = {**headers, "Content-Type": content_type}
    if call.head:
        return web.Response(headers={**headers, "Content-Length": str(len(payload))})
    return web.Response(body=payload, headers=headers)
