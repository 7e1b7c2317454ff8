"""Manifests over HTTP: PUT, GET, HEAD, DELETE by tag and by digest."""

from functools import partial
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from treescale.auth.scopes import Action
from treescale.errors import RequestInvalid
from treescale.http.call import Call, bytes_response, empty
from treescale.http.request_record import Repeatable, record_of, uncounted
from treescale.metadata.records import WrongSize
from treescale.oci.digest import parse_digest
from treescale.oci.manifests import MANIFEST_BYTES_MAX
from treescale.oci.names import check_tag

TAG_PARAMETERS_MAX: Final = 100
WARNINGS_MAX: Final = 5
"""Together they stay far under the 4,096 bytes that clients read."""


async def get_manifest(call: Call) -> web.StreamResponse:
    """GET and HEAD; the bytes and the type are those pushed, whatever Accept says."""
    publishing = call.rooms.publishing
    # Whoever may push and hears that it is there does not push it: that must be so now.
    certain = call.head and Action.PUSH in await call.caller.actions(call.repository)
    manifest = await publishing.get(call.repository, call.resource.reference, certain=certain)
    if publishing.is_to_renew(manifest):
        may_push = Action.PUSH in await call.caller.actions(call.repository)
        await publishing.renew(call.repository, manifest, promise=may_push)
    headers = {"Docker-Content-Digest": manifest.digest, "ETag": f'"{manifest.digest}"'}
    if call.has_already(manifest.digest):
        return empty(304, headers)
    reference, digest = call.resource.reference, manifest.digest
    count = uncounted
    if call.request.method == "GET":  # who only asks whether there is a newer one pulls nothing
        tag = "" if reference == digest else reference
        count = partial(publishing.counter.note, call.repository, digest, tag)
        count()
    is_current = publishing.currency(call.repository, reference, manifest)
    record_of(call.request).content = Repeatable(is_current, count)
    return bytes_response(call, manifest.payload, manifest.media_type, headers)


async def put_manifest(call: Call) -> web.StreamResponse:
    """PUT, by tag, or by digest with any number of `?tag=` (Distribution main, end-7b)."""
    reference = call.resource.reference
    digest = parse_digest(reference) if ":" in reference else None
    extra = [check_tag(tag) for tag in call.parameters("tag")]
    if len(extra) > TAG_PARAMETERS_MAX:
        raise RequestInvalid(f"at most {TAG_PARAMETERS_MAX} tags can be pushed at once")
    if "Content-Range" in call.request.headers:  # RFC 9110, 14.5: it would not be the whole
        raise RequestInvalid("a manifest is pushed whole, without Content-Range")
    condition = call.condition()
    payload = await call.body.read(MANIFEST_BYTES_MAX)
    published = await call.rooms.publishing.put(
        call.repository,
        payload,
        call.request.headers.get("Content-Type"),
        digest=digest,
        tags=extra if digest else [reference, *extra],
        actor=call.caller.actor,
        condition=condition,
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
    for wrong in published.wrong_sizes[:WARNINGS_MAX]:
        headers.add("Warning", f'299 - "{_warned(wrong)}"')
    return web.Response(status=201, headers=headers)


def _warned(wrong: WrongSize) -> str:
    """Return what podman and skopeo show of it (Distribution spec, "Warnings")."""
    return (
        f"the manifest says that {wrong.digest} has {wrong.said} bytes and it has {wrong.has}: "
        "containerd, crane and others will refuse to pull it"
    )


async def delete_manifest(call: Call) -> web.StreamResponse:
    """DELETE of a tag alone, or of a manifest with all its tags."""
    await call.rooms.publishing.delete(
        call.repository,
        call.resource.reference,
        call.condition(),
        actor=call.caller.actor,
    )
    return empty(202, {})
