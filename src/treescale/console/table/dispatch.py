"""A request's way through the management API: its route, its caller, its body; one door for errors.

The order is that of RFC 9110: nothing there (404), no such method (405), who is it (401), may they
(403), is the query one we know (400), is the body JSON (415), of a bounded length (413), and what
the route takes (400).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.roles import Memberships
from treescale.console.body import BODY_BYTES_MAX, JSON, check_type, parse_body
from treescale.console.problems import CONTENT_TYPE, problem_body, status_of
from treescale.console.route import GET, HEAD, ApiRoute, Asked, Streamed, Who, check_query, find
from treescale.errors import (
    CredentialsInvalid,
    Failed,
    Forbidden,
    RequestInvalid,
)
from treescale.http.administrators import Administrators
from treescale.http.authentication import Authenticator
from treescale.http.body import RequestBody
from treescale.http.call import add_common_headers
from treescale.http.connections.streaming import stream
from treescale.http.dispatch import check_coding
from treescale.http.errors import as_failed, lookup, waiting_headers
from treescale.http.request_record import note_user, record_of, request_id
from treescale.http.sessions.visitor import Visitors
from treescale.log import get_logger
from treescale.metrics.meters import Route
from treescale.metrics.traffic import TrafficCounters
from treescale.oci.query import query_pairs
from treescale.request_id import CLIENT, REQUEST_ID


@dataclass(frozen=True, slots=True)
class _Admitted:
    """Who asks, and what they were granted."""

    principal: Principal
    is_administrator: bool = False
    held: Memberships = field(default_factory=dict)
    is_fresh: bool = True


class ApiDispatcher:
    """Answers every request below PREFIX by a table of routes."""

    def __init__(
        self,
        routes: Sequence[ApiRoute],
        authenticator: Authenticator,
        administrators: Administrators,
        traffic: TrafficCounters,
        *,
        check: Callable[[], None] = lambda: None,
        visitors: Visitors | None = None,
    ) -> None:
        """`check` raises what everything is refused with.

        `visitors` tell whose session a page's own request has.
        """
        self._visitors = visitors
        self._routes = routes
        self._authenticator = authenticator
        self._administrators = administrators
        self._traffic = traffic
        self._check = check
        self._log = get_logger()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        record = record_of(request)
        record.route = Route.API
        REQUEST_ID.set(request_id(request))
        record.client = self._authenticator.client_address(request)
        CLIENT.set(record.client)
        try:
            response = await self._answer(request)
        except Exception as error:  # noqa: BLE001  this is the one door
            response = self._refuse(as_failed(error), request_id(request))
        if response.prepared:
            return response
        if request.method == HEAD:
            length = str(response.content_length or 0)
            headers = response.headers.copy()
            headers["Content-Length"] = length
            response = web.Response(status=response.status, headers=headers)
        add_common_headers(response)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._check()
        check_coding(request)
        route, parameters = find(self._routes, request.method, request.rel_url.raw_path)
        admitted = await self._admit(request, route)
        rates = self._authenticator.rates
        if rates is not None and rates.are_limited:
            user = admitted.principal.user
            rates.check(user, record_of(request).client, is_pull=False)
        query = check_query(route, query_pairs(request.rel_url.raw_query_string))
        body = await self._body(request, route)
        asked = Asked(
            admitted.principal,
            admitted.is_administrator,
            parameters,
            query,
            body,
            request.headers,
            admitted.held,
            is_fresh=admitted.is_fresh,
            prove=partial(self._authenticator.prove, request),
        )
        asked = replace(asked, again=partial(self._again, request, route, asked))
        answered = await route.handler(asked)
        if isinstance(answered, Streamed):
            return await self._stream(request, answered)
        return web.Response(
            body=msgspec.json.encode(answered.content),
            headers={**answered.headers, "Content-Type": JSON},
        )

    async def _again(self, request: web.BaseRequest, route: ApiRoute, asked: Asked) -> Asked:
        """Look again who asks; raises what keeps them out now."""
        admitted = await self._admit(request, route)
        return replace(
            asked,
            principal=admitted.principal,
            is_administrator=admitted.is_administrator,
            held=admitted.held,
            is_fresh=admitted.is_fresh,
        )

    async def _stream(self, request: web.BaseRequest, streamed: Streamed) -> web.StreamResponse:
        """Send piece by piece; what goes wrong before the first one is answered as ever."""
        headers = {**streamed.headers, "Content-Type": streamed.content_type}
        pieces = streamed.pieces
        async with aclosing(pieces):
            first = await anext(pieces, b"")
            if request.method == HEAD:
                return web.Response(headers=headers)
            response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
            add_common_headers(response)
            await stream(request, response, _from(first, pieces))
        return response

    async def _admit(self, request: web.BaseRequest, route: ApiRoute) -> "_Admitted":
        """Return who asks; raises what keeps them out."""
        if route.who is Who.ANYBODY:
            return _Admitted(ANONYMOUS)
        if route.method != GET and self._visitors is not None:
            # A browser adds the password that was typed here once to what other sites post.
            self._visitors.check_origin(request, needed=False)
        is_fresh = True
        principal = await self._authenticator.basic(request)
        if principal is None and self._visitors is not None:
            signed_in = await self._visitors.of_api(request)
            if signed_in is not None:
                principal, is_fresh = signed_in.principal, signed_in.is_fresh
                self._authenticator.note_login(request, principal)
        if principal is None and route.who is Who.READER and not self._authenticator.tokens.closed:
            return _Admitted(ANONYMOUS)
        if principal is None:
            raise CredentialsInvalid(
                "log in with Basic credentials: a password, or an access token made with "
                f"--allow {route.scope.value}"
            )
        note_user(request, principal.user)
        if principal.is_robot and not route.robots:
            raise Forbidden("this is not for robots: log in as a person")
        if not principal.opens(route.scope):
            what = "robot" if principal.is_robot else "access token"
            raise Forbidden(
                f"this {what} is not for this: make one with --allow {route.scope.value}"
            )
        is_administrator = await self._administrators.has(principal)
        if route.who is Who.ADMINISTRATOR and not is_administrator:
            raise Forbidden("this is for administrators")
        held = await self._authenticator.tokens.memberships(principal)
        return _Admitted(principal, is_administrator, held, is_fresh)

    async def _body(self, request: web.BaseRequest, route: ApiRoute) -> Any:
        body = RequestBody(request, self._traffic)
        if route.takes is None:
            if body.length != 0 and await body.read(BODY_BYTES_MAX):
                raise RequestInvalid("no body is taken here")
            return None
        check_type(request.headers.get("Content-Type", ""))
        return parse_body(await body.read(route.body_bytes_max), route.takes)

    def _refuse(self, error: Exception, request_id: str) -> web.Response:
        if lookup(error) is None:
            self._log.error("request.failed", request_id=request_id, exc_info=error)
        elif isinstance(error, Failed):
            self._log.warning("request.unavailable", error=str(error), request_id=request_id)
        response = web.Response(
            status=status_of(error),
            body=msgspec.json.encode(problem_body(error, request_id)),
            headers={"Content-Type": CONTENT_TYPE, **waiting_headers(error)},
        )
        if response.status == web.HTTPUnauthorized.status_code:
            response.headers["WWW-Authenticate"] = 'Basic realm="treescale"'
        return response


async def _from(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece
