"""Lists over HTTP: tags, the catalog, referrers. Every page is bounded and names the next one."""

from typing import Final

from aiohttp import web

from treescale.api.call import Call, json_response
from treescale.errors import RequestInvalid
from treescale.metadata.records import ReferrerDescriptor
from treescale.oci.digest import parse_digest
from treescale.oci.pages import link_header, parse_last, parse_page_size

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
JSON: Final = "application/json"


async def list_tags(call: Call) -> web.StreamResponse:
    """GET …/tags/list?n=&last=."""
    limit, last = _page_asked(call)
    page = await call.rooms.publishing.list_tags(call.repository, last, limit)
    link = _link(f"/v2/{call.repository}/tags/list", limit, page.last)
    return json_response(call, {"name": call.repository, "tags": page.names}, JSON, link)


async def list_catalog(call: Call) -> web.StreamResponse:
    """GET /v2/_catalog?n=&last=: the caller's own repositories and the public ones."""
    call.caller.check_catalog()
    limit, last = _page_asked(call)
    page = await call.rooms.publishing.list_repositories(call.caller.user or None, last, limit)
    seen = [
        found.name
        for found in page.repositories
        if call.caller.sees(found.name, public=found.public)
    ]
    link = _link("/v2/_catalog", limit, page.last)
    return json_response(call, {"repositories": seen}, JSON, link)


async def list_referrers(call: Call) -> web.StreamResponse:
    """GET …/referrers/<digest>?artifactType=: an index, empty when nothing refers to it."""
    subject = parse_digest(call.route.reference)
    wanted = _artifact_type_asked(call)
    limit, last = _page_asked(call)
    page = await call.rooms.publishing.referrers(call.repository, subject, wanted, last, limit)
    headers: dict[str, str] = {}
    if wanted is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
    if page.last is not None:
        filters = {} if wanted is None else {"artifactType": wanted}
        path = f"/v2/{call.repository}/referrers/{subject}"
        headers["Link"] = link_header(path, limit, page.last, filters)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [_descriptor(found) for found in page.descriptors],
    }
    return json_response(call, index, INDEX_TYPE, headers)


def _descriptor(found: ReferrerDescriptor) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": found.media_type,
        "digest": found.digest,
        "size": found.size,
    }
    if found.artifact_type is not None:
        descriptor["artifactType"] = found.artifact_type
    if found.annotations:
        descriptor["annotations"] = found.annotations
    return descriptor


def _artifact_type_asked(call: Call) -> str | None:
    """Return the filter; raises RequestInvalid for what no manifest can have.

    PostgreSQL keeps no NUL and neither database half a surrogate: they would fail on it.
    """
    wanted = call.parameter("artifactType") or None
    if wanted is not None and not wanted.isprintable():
        raise RequestInvalid("artifactType must be a media type")
    return wanted


def _page_asked(call: Call) -> tuple[int, str]:
    return parse_page_size(call.parameters("n")), parse_last(call.parameters("last"))


def _link(path: str, limit: int, last: str | None) -> dict[str, str]:
    return {} if last is None else {"Link": link_header(path, limit, last)}
