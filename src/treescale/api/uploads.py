"""Blob uploads over HTTP (OCI Distribution Spec, "Pushing blobs"; reference/wire.md 3a)."""

from aiohttp import web

from treescale.auth.scopes import Action
from treescale.errors import (
    DigestInvalid,
    NameInvalid,
    TreeScaleError,
    Unauthorized,
    UploadOutOfOrder,
)
from treescale.http.authentication import needed_scope
from treescale.http.call import Call, empty
from treescale.oci.digest import Digest, parse_digest
from treescale.oci.names import check_repository
from treescale.oci.upload import chunk_announced, progress_range


async def begin_upload(call: Call) -> web.StreamResponse:
    """POST: mount a blob, push one whole, or open a session."""
    mount, whole = call.parameter("mount"), call.parameter("digest")
    if mount is not None:
        digest = parse_digest(mount)
        sources = await _mount_sources(call)
        if await call.rooms.pushes.mount(call.repository, call.caller.user, digest, sources):
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
    at, announced = _chunk(call)
    upload = await call.rooms.pushes.append(
        call.repository,
        call.caller.user,
        call.resource.reference,
        call.body,
        at=at,
        announced=announced,
    )
    return empty(202, session_headers(call.repository, upload.upload_id, upload.offset))


async def finish_upload(call: Call) -> web.StreamResponse:
    """PUT: add the last bytes, if any, and make the blob exist."""
    text = call.parameter("digest")
    if text is None:
        raise DigestInvalid("finish an upload with ?digest=sha256:…")
    digest = parse_digest(text)
    at, announced = _chunk(call)
    size = await call.rooms.pushes.finish(
        call.repository,
        call.caller.user,
        call.resource.reference,
        call.body,
        digest,
        at=at,
        announced=announced,
    )
    created = _created(call.repository, digest)
    session = session_headers(call.repository, call.resource.reference, size)
    created.headers.update({**session, **created.headers})
    return created


async def upload_status(call: Call) -> web.StreamResponse:
    """GET: how far the session got."""
    upload = await call.rooms.pushes.status(
        call.repository, call.caller.user, call.resource.reference
    )
    return empty(204, session_headers(call.repository, upload.upload_id, upload.offset))


async def cancel_upload(call: Call) -> web.StreamResponse:
    """DELETE: end the session."""
    await call.rooms.pushes.cancel(call.repository, call.caller.user, call.resource.reference)
    return empty(204, {"Docker-Upload-UUID": call.resource.reference})


async def session_after(call: Call, refused: TreeScaleError) -> dict[str, str]:
    """Return what a refusal says of the caller's session: where it is and where it continues.

    Raises UploadUnknown when there is none.
    """
    if isinstance(refused, UploadOutOfOrder):
        return session_headers(call.repository, call.resource.reference, refused.offset)
    upload = await call.rooms.pushes.status(
        call.repository, call.caller.user, call.resource.reference
    )
    return session_headers(call.repository, upload.upload_id, upload.offset)


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


def _chunk(call: Call) -> tuple[int | None, int | None]:
    """Return the offset and the length that the client says its bytes have, None if unsaid."""
    chunk = chunk_announced(call.request.headers.get("Content-Range"), call.body.length)
    return (None, None) if chunk is None else (chunk.first, chunk.length)


def upload_scope(call: Call, action: Action) -> str:
    """Return what beginning an upload needs; of a mount its source, too."""
    source = _mount_source(call) if action is Action.PUSH else None
    repository = call.repository
    return _mount_scope(repository, source) if source else needed_scope(repository, action)


def _mount_source(call: Call) -> str | None:
    """Return the repository that a request asks to mount from; None when it names none."""
    source = call.parameter("from")
    if source is None or call.parameter("mount") is None:
        return None
    try:
        check_repository(source)
    except NameInvalid:
        return None
    return source


def _mount_scope(repository: str, source: str) -> str:
    """Return what a mount needs: to push to one repository, and to pull from the other."""
    target = needed_scope(repository, Action.PUSH)
    return target if source == repository else f"{target} {needed_scope(source, Action.PULL)}"


async def _mount_sources(call: Call) -> list[str]:
    """Return the repositories to mount from: only such as the caller may pull from.

    Raises Unauthorized when the caller's token was not asked for with the right to pull from the
    one that is named. One that was asked for and refused is a miss, for asking again is of no use.
    """
    if call.parameter("from") is None:
        return call.caller.pullable()
    source = _mount_source(call)
    if source is None:
        return []
    if Action.PULL in await call.caller.actions(source):
        return [source]
    if call.caller.could_ask(source, Action.PULL):
        raise Unauthorized(
            f"this token was asked for without the right to pull {source}, to mount from it",
            scope=_mount_scope(call.repository, source),
            error="insufficient_scope",
        )
    return []
