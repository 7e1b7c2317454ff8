"""Blob uploads over HTTP (OCI Distribution Spec, "Pushing blobs"; reference/wire.md 3a)."""

from aiohttp import web

from treescale.api.call import Call, empty
from treescale.auth.scopes import Action
from treescale.errors import DigestInvalid, NameInvalid
from treescale.oci.digest import Digest, parse_digest
from treescale.oci.names import check_repository
from treescale.oci.upload import chunk_offset, progress_range


async def begin_upload(call: Call) -> web.StreamResponse:
    """POST: mount a blob, push one whole, or open a session."""
    mount, whole = call.parameter("mount"), call.parameter("digest")
    if mount is not None:
        digest = parse_digest(mount)
        sources = await _mount_sources(call)
        if await call.rooms.pushes.mount(call.repository, digest, sources):
            return _created(call.repository, digest)
    elif whole is not None:
        digest = parse_digest(whole)
        await call.rooms.pushes.put_whole(call.repository, call.caller.user, call.body, digest)
        return _created(call.repository, digest)
    algorithm = call.parameter("digest-algorithm") or "sha256"
    upload = await call.rooms.pushes.begin(call.repository, call.caller.user, algorithm)
    return empty(202, session_headers(call.repository, upload.upload_id, 0))


async def append_upload(call: Call) -> web.StreamResponse:
    """PATCH: add bytes, streamed or as an announced chunk."""
    upload = await call.rooms.pushes.append(
        call.repository,
        call.caller.user,
        call.route.reference,
        call.body,
        at=_offset(call),
    )
    return empty(202, session_headers(call.repository, upload.upload_id, upload.offset))


async def finish_upload(call: Call) -> web.StreamResponse:
    """PUT: add the last bytes, if any, and make the blob exist."""
    text = call.parameter("digest")
    if text is None:
        raise DigestInvalid("finish an upload with ?digest=sha256:…")
    digest = parse_digest(text)
    await call.rooms.pushes.finish(
        call.repository,
        call.caller.user,
        call.route.reference,
        call.body,
        digest,
        at=_offset(call),
    )
    return _created(call.repository, digest)


async def upload_status(call: Call) -> web.StreamResponse:
    """GET: how far the session got."""
    upload = await call.rooms.pushes.status(call.repository, call.caller.user, call.route.reference)
    return empty(204, session_headers(call.repository, upload.upload_id, upload.offset))


async def cancel_upload(call: Call) -> web.StreamResponse:
    """DELETE: end the session."""
    await call.rooms.pushes.cancel(call.repository, call.caller.user, call.route.reference)
    return empty(204, {})


def session_headers(repository: str, upload_id: str, offset: int) -> dict[str, str]:
    """Return what every answer about a session carries; Range is `0-0` before the first byte."""
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{upload_id}",
        "Docker-Upload-UUID": upload_id,
        "Range": progress_range(offset),
    }


def _created(repository: str, digest: Digest) -> web.Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return empty(201, headers)


def _offset(call: Call) -> int | None:
    return chunk_offset(call.request.headers.get("Content-Range"), call.body.length)


async def _mount_sources(call: Call) -> list[str]:
    """Return the repositories to mount from: only such as the caller may pull from."""
    source = call.parameter("from")
    if source is None:
        return call.caller.pullable()
    try:
        check_repository(source)
    except NameInvalid:
        return []
    return [source] if Action.PULL in await call.caller.actions(source) else []
