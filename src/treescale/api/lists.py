"""Lists over HTTP: tags, the catalog, referrers. Every page is bounded and names the next one."""

from typing import Final

from aiohttp import web

from treescale.errors import RequestInvalid
from treescale.http.call import Call, json_response
from treescale.metadata.records import ReferrerDescriptor
from treescale.oci.digest import parse_digest
from treescale.oci.manifests import MEDIA_TYPE_CHARACTERS_MAX
from treescale.oci.pages import link_header, parse_last, parse_page_size

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
JSON: Final = "application/json"
READ_ON: Final = 500
"""Repositories that are looked at together past those that the caller does not see."""


async def list_tags(call: Call) -> web.StreamResponse:
    """GET …/tags/list?n=&last=."""
    limit, last = _page_asked(call)
    page = await call.rooms.publishing.list_tags(call.repository, last, limit)
    link = _link(f"/v2/{call.repository}/tags/list", limit, page.last)
    return json_response(call, {"name": call.repository, "tags": page.names}, JSON, link)


async def list_catalog(call: Call) -> web.StreamResponse:
    """GET /v2/_catalog?n=&last=: the repositories that the caller may pull from."""
    call.caller.check_catalog()
    limit, last = _page_asked(call)
    held = await call.rooms.authenticator.tokens.memberships(call.caller.principal)
    home = call.caller.principal.home or None
    seen: list[str] = []
    after: str | None = last
    count = limit + 1
    # A role may be for some repositories alone: no cursor names the others.
    while after is not None and 0 < limit >= len(seen):
        page = await call.rooms.publishing.list_repositories(home, after, count)
        seen += [found.name for found in page.repositories if call.caller.may_list(found, held)]
        after, count = page.last, max(limit + 1, READ_ON)
    shown = seen[:limit]
    link = _link("/v2/_catalog", limit, shown[-1] if len(seen) > limit else None)
    return json_response(call, {"repositories": shown}, JSON, link)


async def list_referrers(call: Call) -> web.StreamResponse:
    """GET …/referrers/<digest>?artifactType=: an index, empty when nothing refers to it."""
    subject = parse_digest(call.resource.reference)
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
    """Return the filter; raises RequestInvalid for what no media type can be (RFC 6838, 4.2).

    A list that is empty because of it would say that nothing is there. A blank is possible after a
    semicolon alone, before a parameter.
    """
    asked = set(call.parameters("artifactType")) - {""}
    if len(asked) > 1:
        raise RequestInvalid("artifactType is given twice: ask for one type at a time")
    for wanted in asked:
        name = wanted.partition(";")[0]
        if not name or " " in name or not wanted.isprintable():
            raise RequestInvalid(f"artifactType must be a media type, not {wanted[:100]!a}")
        if len(wanted) > MEDIA_TYPE_CHARACTERS_MAX:
            raise RequestInvalid(f"artifactType has at most {MEDIA_TYPE_CHARACTERS_MAX} characters")
        return wanted
    return None


def _page_asked(call: Call) -> tuple[int, str]:
    return parse_page_size(call.parameters("n")), parse_last(call.parameters("last"))


def _link(path: str, limit: int, last: str | None) -> dict[str, str]:
    return {} if last is None else {"Link": link_header(path, limit, last)}
