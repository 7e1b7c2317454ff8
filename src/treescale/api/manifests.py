"""Manifests over HTTP: PUT, GET, HEAD, DELETE by tag and by digest."""

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from treescale.api.call import Call, empty, whole
from treescale.errors import RequestInvalid
from treescale.oci.digest import parse_digest
from treescale.oci.manifests import manifest_bytes_max
from treescale.oci.names import check_tag

tag_parameters_max: Final = 100


async def get_manifest(call: Call) -> web.StreamResponse:
    """GET and HEAD; the bytes and the type are those pushed, whatever Accept says."""
    manifest = await call.rooms.publishing.get(call.repository, call.route.reference)
    headers = {"Docker-Content-Digest": manifest.digest, "ETag": f'"{manifest.digest}"'}
    if call.has(headers["ETag"]):
        return empty(304, headers)
    return whole(call, manifest.payload, manifest.media_type, headers)


async def put_manifest(call: Call) -> web.StreamResponse:
    """PUT, by tag, or by digest with any number of `?tag=` (Distribution main, end-7b)."""
    reference = call.route.reference
    digest = parse_digest(reference) if ":" in reference else None
    extra = [check_tag(tag) for tag in call.parameters("tag")]
    if len(extra) > tag_parameters_max:
        raise RequestInvalid(f"at most {tag_parameters_max} tags can be pushed at once")
    payload = await call.body.read(manifest_bytes_max)
    published = await call.rooms.publishing.put(
        call.repository,
        payload,
        call.request.headers.get("Content-Type"),
        digest=digest,
        tags=extra if digest else [reference, *extra],
    )
    headers = CIMultiDict(
        {
            "Location": f"/v2/{call.repository}/manifests/{published.digest}",
            "Docker-Content-Digest": str(published.digest),
        }
    )
    if published.subject is not None:
        headers["OCI-Subject"] = published.subject
    for tag in extra:
        headers.add("OCI-Tag", tag)
    return web.Response(status=201, headers=headers)


async def delete_manifest(call: Call) -> web.StreamResponse:
    """DELETE of a tag alone, or of a manifest with all its tags."""
    await call.rooms.publishing.delete(call.repository, call.route.reference)
    return empty(202, {})
