"""A request's way: its resource, its caller, the right it needs, its handler; one door for errors.

Handlers return answers or raise; nothing else writes an error.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from treescale.auth.policy import ANONYMOUS
from treescale.errors import (
    BlobUnknown,
    CredentialsInvalid,
    DatabaseUnavailable,
    Failed,
    ManifestUnknown,
    MediaTypeUnsupported,
    NameUnknown,
    QuotaExceeded,
    Refused,
    TooMany,
    TreeScaleError,
    Unauthorized,
    Unsupported,
    UploadUnknown,
)
from treescale.http.authentication import Caller
from treescale.http.call import Call, Service
from treescale.http.errors import as_failed, error_response, lookup
from treescale.http.guard import Guard
from treescale.http.request_record import Repeatable, record_of, request_id
from treescale.http.routes import Handler, RouteTable
from treescale.log import get_logger
from treescale.metrics.meters import CUT, LEFT, Route
from treescale.oci.digest import parse_digest
from treescale.oci.names import check_tag
from treescale.oci.paths import Resource, ResourceKind, parse_path
from treescale.request_id import CLIENT, REQUEST_ID

_ROOT: Final = Resource(ResourceKind.ROOT)
_ROUTES: Final = {kind: Route[kind.name] for kind in ResourceKind}
_UPLOADING: Final = ("POST", "PUT", "PATCH")
_NEVER: Final = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
_BARE: Final = (
    Unauthorized,
    CredentialsInvalid,
    UploadUnknown,
    DatabaseUnavailable,
    TooMany,
    QuotaExceeded,  # which ends the session
)
"""Refusals that carry nothing beside their error: they cannot, or must not, look it up."""


class Dispatcher:
    """Answers every request of a server by a table of routes.

    `check` raises what all of the registry's API is refused with.
    """

    def __init__(
        self, rooms: Service, table: RouteTable, *, check: Callable[[], None] = lambda: None
    ) -> None:
        self._check = check
        self._pages = {path: Route[path[1:].upper()] for path in table.pages}
        self._rooms = rooms
        self._table = table
        self._guard = Guard(table)
        self._log = get_logger()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        call = Call(request, _ROOT, Caller(ANONYMOUS), self._rooms)
        REQUEST_ID.set(request_id(request))
        client = self._rooms.authenticator.client_address(request)
        record_of(request).client = client
        CLIENT.set(client)
        try:
            check_coding(request)
            response: web.StreamResponse | None = self._rooms.authenticator.cors.preflight(request)
            if response is None:
                handler = await self._handler(call)
                response = await handler(call)
        except Exception as error:  # noqa: BLE001  this is the one door
            return await self._refuse(call, as_failed(error), request_id(request))
        if not response.prepared:
            call.add_common_headers(response)
        record_of(request).repeatable = self._repeatable(call)
        return response

    def _repeatable(self, call: Call) -> Repeatable | None:
        """Return what the answer may be given again by: what the handler says, and what let it."""
        content, is_valid_still = record_of(call.request).content, call.caller.is_valid_still
        if content is None or is_valid_still is None:
            return None
        rates = self._rooms.authenticator.rates

        def holds() -> bool:
            if rates is not None and rates.are_limited:
                return False  # each request has to be counted, and may be one too many
            try:
                self._check()
            except TreeScaleError:
                return False
            return is_valid_still() and content.holds()

        return Repeatable(holds, content.count)

    async def _handler(self, call: Call) -> Handler:
        """Return what answers the call, once its caller is known to have the right to that."""
        path = call.request.rel_url.raw_path
        if not path.startswith("/v2"):
            page = self._table.pages.get(path)
            if page is None:
                raise NameUnknown("nothing here; the registry is at /v2/")
            record_of(call.request).route = self._pages[path]
            return page
        self._check()
        try:
            resource = parse_path(path)
        except Refused:
            await self._guard.authenticate(call)
            raise
        if resource is None:
            await self._guard.authenticate(call)
            raise NameUnknown(f"no such page of the registry API: {path[:200]}")
        call.resource = resource
        record_of(call.request).route = _ROUTES[resource.kind]
        await self._guard.admit(call)
        self._count(call)
        method = call.request.method
        route = self._table.find(resource.kind, method)
        if route is None:
            allowed = self._table.methods(resource.kind)
            raise Unsupported(f"use {' or '.join(allowed)} here, not {method}", allowed=allowed)
        if not resource.possible:
            _refuse_impossible(resource, method)
        return route.handler

    def _count(self, call: Call) -> None:
        """Count the request, where requests are counted; raises TooMany."""
        rates = self._rooms.authenticator.rates
        if rates is not None and rates.are_limited:
            request = call.request
            is_pull = call.resource.kind is ResourceKind.MANIFEST and request.method == "GET"
            rates.check(call.caller.user, record_of(request).client, is_pull=is_pull)

    async def _refuse(self, call: Call, error: Exception, request_id: str) -> web.StreamResponse:
        """Return the answer to an exception; cut the connection when a body has already begun."""
        if call.started is not None:
            # A client that leaves is its own affair (containerd does, on every large layer).
            left = isinstance(error, ConnectionError)
            record_of(call.request).ended = LEFT if left else CUT
            say = self._log.info if left else self._log.warning
            say("answer.cut", error=repr(error), request_id=request_id)
            if call.request.transport is not None:
                call.request.transport.abort()
            return call.started
        if lookup(error) is None:
            self._log.error("request.failed", request_id=request_id, exc_info=error)
        elif isinstance(error, Failed):
            self._log.warning("request.unavailable", error=str(error), request_id=request_id)
        if call.request.method in _UPLOADING:
            user = record_of(call.request).user
            self._rooms.refused.note(user, call.repository, error, request_id)
        beside: dict[str, str] = {}
        try:
            beside = await self._beside(call, error)
        except TreeScaleError as instead:
            error = instead
        response = error_response(error, request_id)
        response.headers.update(beside)
        call.add_common_headers(response)
        if isinstance(error, Unauthorized):
            challenge = self._rooms.authenticator.challenge(call.request, error)
            response.headers["WWW-Authenticate"] = challenge
        elif isinstance(error, CredentialsInvalid):
            response.headers["WWW-Authenticate"] = 'Basic realm="treescale"'
        return response

    async def _beside(self, call: Call, error: Exception) -> dict[str, str]:
        """Return the headers that a refusal carries beside its error; raises what counts more."""
        headers = self._table.refusals.get(call.resource.kind)
        if headers is None or not call.caller.user or isinstance(error, _BARE):
            return {}
        if not isinstance(error, TreeScaleError):
            return {}
        try:
            return await headers(call, error)
        except Failed:
            return {}  # the refusal is what matters


def check_coding(request: web.BaseRequest) -> None:
    """Raise MediaTypeUnsupported for a body that is not sent as it is."""
    if "Content-Encoding" not in request.headers:
        return
    lines = ",".join(request.headers.getall("Content-Encoding"))
    if {coding.strip().lower() for coding in lines.split(",")} - {"identity", ""}:
        raise MediaTypeUnsupported("send the body as it is, without Content-Encoding")


def takes_gzip(request: web.BaseRequest) -> bool:
    """Return whether the client takes gzip; not for who says so oddly: any takes it as it is."""
    for part in ",".join(request.headers.getall("Accept-Encoding", ())).split(","):
        coding, *parameters = (each.strip().lower() for each in part.split(";"))
        if coding == "gzip":
            return not any(each.replace(" ", "") in _NEVER for each in parameters)
    return False


def _refuse_impossible(resource: Resource, method: str) -> None:
    """Refuse a name that nothing here can have: it is not there, and cannot be pushed."""
    if resource.kind is ResourceKind.BLOB:
        raise BlobUnknown(f"no blob {resource.reference} in {resource.repository}")
    if method == "PUT":
        parse_digest(resource.reference) if resource.reference else check_tag("")
    raise ManifestUnknown(f"no such manifest in {resource.repository}")
