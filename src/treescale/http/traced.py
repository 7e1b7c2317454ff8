"""Answers with spans around them: of requests of clients, and of other servers.

Put around a handler when a worker is put together, so nothing is looked at where nobody asked for
spans.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from treescale.http.request_record import record_of, request_id
from treescale.tracing import HEADER, TRACING, Kind, Tracer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def with_spans(handle: Handler) -> Handler:
    """Return what answers clients, with a span of each request, below the client's own."""
    tracer = TRACING.tracer
    return handle if tracer is None else partial(_of_client, tracer, handle)


def with_peers_spans(handle: Handler, name_of: Callable[[web.BaseRequest], str]) -> Handler:
    """Return what answers other servers, with a span of what was asked within one of theirs."""
    tracer = TRACING.tracer
    return handle if tracer is None else partial(_of_peer, tracer, handle, name_of)


async def _of_client(
    tracer: Tracer, handle: Handler, request: web.BaseRequest
) -> web.StreamResponse:
    method = request.method
    told = {"http__request__method": method, "url__path": request.rel_url.raw_path}
    with tracer.span(method, Kind.ANSWERING, request.headers.get(HEADER), **told) as span:
        response = await handle(request)
        span.set_attribute("treescale.request_id", request_id(request))
        name = f"{method} {record_of(request).route.name.lower()}"
        tracer.answered(span, name, response.status)
    return response


async def _of_peer(
    tracer: Tracer,
    handle: Handler,
    name_of: Callable[[web.BaseRequest], str],
    request: web.BaseRequest,
) -> web.StreamResponse:
    above = request.headers.get(HEADER)
    if above is None:  # what it does by itself: pings, walks
        return await handle(request)
    name = name_of(request)
    with tracer.span(name, Kind.ANSWERING, above) as span:
        response = await handle(request)
        tracer.answered(span, name, response.status)
    return response
