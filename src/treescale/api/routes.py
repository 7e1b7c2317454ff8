"""The HTTP surface of the registry: every route on this screen."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from aiohttp import web

from treescale.api import blobs, health, lists, manifests, uploads
from treescale.api.metrics import PATH, MetricsDesk
from treescale.api.stopping import StopDesk
from treescale.api.token import issue_token
from treescale.auth.scopes import Action
from treescale.http.call import Call, json_response
from treescale.http.routes import Route, RouteTable
from treescale.oci.paths import ResourceKind


async def check_version(call: Call) -> web.StreamResponse:
    """GET /v2/: yes, this is a registry, and yes, these credentials are good."""
    return json_response(call, {}, "application/json", {})


ROUTES: Final[Mapping[tuple[ResourceKind, str], Route]] = {
    (ResourceKind.ROOT, "GET"): Route(check_version, None),
    (ResourceKind.ROOT, "HEAD"): Route(check_version, None),
    (ResourceKind.CATALOG, "GET"): Route(lists.list_catalog, None),
    (ResourceKind.TAGS, "GET"): Route(lists.list_tags, Action.PULL),
    (ResourceKind.REFERRERS, "GET"): Route(lists.list_referrers, Action.PULL),
    (ResourceKind.MANIFEST, "GET"): Route(manifests.get_manifest, Action.PULL),
    (ResourceKind.MANIFEST, "HEAD"): Route(manifests.get_manifest, Action.PULL),
    (ResourceKind.MANIFEST, "PUT"): Route(manifests.put_manifest, Action.PUSH),
    (ResourceKind.MANIFEST, "DELETE"): Route(manifests.delete_manifest, Action.DELETE),
    (ResourceKind.BLOB, "GET"): Route(blobs.get_blob, Action.PULL),
    (ResourceKind.BLOB, "HEAD"): Route(blobs.get_blob, Action.PULL),
    (ResourceKind.BLOB, "DELETE"): Route(blobs.delete_blob, Action.DELETE),
    (ResourceKind.UPLOADS, "POST"): Route(uploads.begin_upload, Action.PUSH),
    (ResourceKind.UPLOAD, "GET"): Route(uploads.upload_status, Action.PUSH),
    (ResourceKind.UPLOAD, "PATCH"): Route(uploads.append_upload, Action.PUSH),
    (ResourceKind.UPLOAD, "PUT"): Route(uploads.finish_upload, Action.PUSH),
    (ResourceKind.UPLOAD, "DELETE"): Route(uploads.cancel_upload, Action.PUSH),
}
"""The registry API, whole. HEAD lives where OCI has it."""


def route_table(ready: health.Readiness, stop: StopDesk, metrics: MetricsDesk) -> RouteTable:
    """Return all that a server answers to clients; `ready` says how it is, whenever one asks."""
    return RouteTable(
        ROUTES,
        pages={
            "/token": issue_token,
            "/healthz": health.alive,
            "/readyz": partial(health.readiness, ready),
            "/stopz": stop.answer,
            PATH: metrics.answer,
        },
        scopes={ResourceKind.UPLOADS: uploads.upload_scope},
        refusals={ResourceKind.UPLOAD: uploads.session_after},
    )
