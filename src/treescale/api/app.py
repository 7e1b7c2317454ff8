"""The HTTP surface: every route on this screen, one way in, one door for errors.

A request is matched, its caller identified, the right its route needs checked, and only then its
handler runs. Handlers return answers or raise; nothing else writes an error.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from treescale.api import blobs, lists, manifests, uploads
from treescale.api.call import Call, Rooms, json_response, stamp
from treescale.api.errors import error_response, foreseen, lookup
from treescale.api.guard import Caller, needed_scope
from treescale.api.requestlog import USER, request_id
from treescale.api.token import issue_token
from treescale.auth.policy import ANONYMOUS
from treescale.auth.scopes import CATALOG, Action
from treescale.errors import (
    CredentialsInvalid,
    Failed,
    MediaTypeUnsupported,
    NameUnknown,
    Refused,
    Unauthorized,
    Unsupported,
    UploadOutOfOrder,
)
from treescale.log import get_logger
from treescale.oci.paths import Route, RouteKind, match

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers a route's method, and the right it needs on the route's repository."""

    handler: Handler
    action: Action | None


async def check_version(call: Call) -> web.StreamResponse:
    """GET /v2/: yes, this is a registry, and yes, these credentials are good."""
    return json_response(call, {}, "application/json", {})


ENDPOINTS: Final[Mapping[tuple[RouteKind, str], Endpoint]] = {
    (RouteKind.ROOT, "GET"): Endpoint(check_version, None),
    (RouteKind.ROOT, "HEAD"): Endpoint(check_version, None),
    (RouteKind.CATALOG, "GET"): Endpoint(lists.list_catalog, None),
    (RouteKind.TAGS, "GET"): Endpoint(lists.list_tags, Action.PULL),
    (RouteKind.REFERRERS, "GET"): Endpoint(lists.list_referrers, Action.PULL),
    (RouteKind.MANIFEST, "GET"): Endpoint(manifests.get_manifest, Action.PULL),
    (RouteKind.MANIFEST, "HEAD"): Endpoint(manifests.get_manifest, Action.PULL),
    (RouteKind.MANIFEST, "PUT"): Endpoint(manifests.put_manifest, Action.PUSH),
    (RouteKind.MANIFEST, "DELETE"): Endpoint(manifests.delete_manifest, Action.DELETE),
    (RouteKind.BLOB, "GET"): Endpoint(blobs.get_blob, Action.PULL),
    (RouteKind.BLOB, "HEAD"): Endpoint(blobs.get_blob, Action.PULL),
    (RouteKind.BLOB, "DELETE"): Endpoint(blobs.delete_blob, Action.DELETE),
    (RouteKind.UPLOADS, "POST"): Endpoint(uploads.begin_upload, Action.PUSH),
    (RouteKind.UPLOAD, "GET"): Endpoint(uploads.upload_status, Action.PUSH),
    (RouteKind.UPLOAD, "PATCH"): Endpoint(uploads.append_upload, Action.PUSH),
    (RouteKind.UPLOAD, "PUT"): Endpoint(uploads.finish_upload, Action.PUSH),
    (RouteKind.UPLOAD, "DELETE"): Endpoint(uploads.cancel_upload, Action.PUSH),
}
"""The registry API, whole. HEAD lives where OCI has it."""

_METHOD_ACTIONS: Final = {"GET": Action.PULL, "HEAD": Action.PULL, "DELETE": Action.DELETE}
"""The right to name in the challenge for methods a route does not have; all others mean push."""


def _scope(route: Route, action: Action | None) -> str:
    """Return the scope that a route's challenge names."""
    if route.kind is RouteKind.CATALOG:
        return CATALOG
    return needed_scope(route.repository, action) if route.repository and action else ""


class Api:
    """Answers every request of a server."""

    def __init__(self, rooms: Rooms, *, ready: Callable[[], Awaitable[None]]) -> None:
        """`ready` returns when the server is fit to serve, and raises a Failed when it is not."""
        self._rooms = rooms
        self._ready = ready
        self._log = get_logger()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        call = Call(request, Route(RouteKind.ROOT), Caller(ANONYMOUS), self._rooms)
        try:
            return await self._answer(call)
        except Exception as error:  # noqa: BLE001  this is the one door
            return self._refuse(call, foreseen(error), request_id(request))

    async def _answer(self, call: Call) -> web.StreamResponse:
        request = call.request
        path = request.rel_url.raw_path
        if set(request.headers.getall("Content-Encoding", ())) - {"identity"}:
            raise MediaTypeUnsupported("send the body as it is, without Content-Encoding")
        if path.startswith("/v2"):
            response = await self._registry(call, path)
        elif path == "/token":
            response = await issue_token(call)
        elif path == "/healthz":
            response = web.Response(text="alive\n")
        elif path == "/readyz":
            await self._ready()
            response = web.Response(text="ready\n")
        else:
            raise NameUnknown("nothing here; the registry is at /v2/")
        if not response.prepared:
            stamp(response)
        return response

    async def _registry(self, call: Call, path: str) -> web.StreamResponse:
        try:
            route = match(path)
        except Refused:
            await self._require_caller(call, None)
            raise
        method = call.request.method
        if route is None:
            await self._require_caller(call, None)
            raise NameUnknown(f"no such page of the registry API: {path[:200]}")
        call.route = route
        endpoint = ENDPOINTS.get((route.kind, method))
        action = endpoint.action if endpoint else _METHOD_ACTIONS.get(method, Action.PUSH)
        await self._require_caller(call, action)
        if (
            action is not None
            and route.repository
            and action not in await call.caller.actions(route.repository)
        ):
            raise Unauthorized(
                _denied(call, route.repository, action),
                scope=_scope(route, action),
                error="insufficient_scope",
            )
        if endpoint is None:
            allowed = tuple(method for kind, method in ENDPOINTS if kind is route.kind)
            raise Unsupported(f"use {' or '.join(allowed)} here, not {method}", allowed=allowed)
        return await endpoint.handler(call)

    async def _require_caller(self, call: Call, action: Action | None) -> None:
        grace = call.route.kind is RouteKind.UPLOAD
        try:
            caller = await self._rooms.guard.identify(call.request, grace=grace)
        except Unauthorized as refused:
            scope = _scope(call.route, action)
            raise Unauthorized(str(refused), scope=scope, error=refused.error) from None
        except CredentialsInvalid as refused:
            raise Unauthorized(str(refused), scope=_scope(call.route, action)) from None
        if caller is None:
            raise Unauthorized("authentication required", scope=_scope(call.route, action))
        call.caller = caller
        call.request[USER] = caller.user

    def _refuse(self, call: Call, error: Exception, request_id: str) -> web.StreamResponse:
        """Return the answer to an exception; cut the connection when a body has already begun."""
        if call.started is not None:
            # A client that leaves is its own affair (containerd does, on every large layer).
            left = isinstance(error, ConnectionError)
            say = self._log.info if left else self._log.warning
            say("answer.cut", error=repr(error), request_id=request_id)
            if call.request.transport is not None:
                call.request.transport.abort()
            return call.started
        if lookup(error) is None:
            self._log.error("request.failed", request_id=request_id, exc_info=error)
        elif isinstance(error, Failed):
            self._log.warning("request.unavailable", error=str(error), request_id=request_id)
        response = error_response(error, request_id)
        stamp(response)
        if isinstance(error, Unauthorized):
            challenge = self._rooms.guard.challenge(call.request, error)
            response.headers["WWW-Authenticate"] = challenge
        elif isinstance(error, CredentialsInvalid):
            response.headers["WWW-Authenticate"] = 'Basic realm="treescale"'
        elif isinstance(error, UploadOutOfOrder):
            response.headers.update(
                uploads.session_headers(call.repository, call.route.reference, error.offset)
            )
        return response


def _denied(call: Call, repository: str, action: Action) -> str:
    """Say who may not do what: from the request alone, as absent and private look the same."""
    owner = repository.partition("/")[0]
    if not call.caller.user:
        return f"log in first: {repository} is for {owner}"
    if owner == call.caller.user:
        return f"this login has no right to {action.value} {repository}: its access token has less"
    return f"{call.caller.user} has no right to {action.value} {repository}: it is for {owner}"
