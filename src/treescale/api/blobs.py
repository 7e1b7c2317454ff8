"""Blobs over HTTP: HEAD, GET with every form of Range (RFC 9110 section 14), DELETE."""

from asyncio import get_running_loop
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from treescale.auth.scopes import Action
from treescale.chunks.disk.file import FileSlice
from treescale.chunks.store import Bytes
from treescale.http.call import OCTET_STREAM, Call, empty
from treescale.http.connections.sending import sender_for
from treescale.http.request_record import Repeatable, record_of, uncounted
from treescale.metadata.records import Blob
from treescale.metrics.traffic import Flow
from treescale.oci.digest import parse_digest
from treescale.oci.ranges import ByteRange, content_range, parse_range

AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""A part this small leaves with its header, if it is at hand."""
WRITTEN_AT_ONCE_BYTES: Final = 64 * 1024
"""What was read as a whole is given to the transport in pieces the processor's cache holds."""


async def get_blob(call: Call) -> web.StreamResponse:
    """GET and HEAD of a blob, whole or in parts."""
    pulls = call.rooms.pulls
    digest = parse_digest(call.resource.reference)
    if call.head:
        # Whoever may push may be about to: what is there must stay, and what is lost be sent again.
        may_push = Action.PUSH in await call.caller.actions(call.repository)
        blob = await pulls.find_whole(call.repository, digest, promise=may_push)
        is_current = pulls.currency(call.repository, digest, blob, promise=may_push)
        record_of(call.request).content = Repeatable(is_current, uncounted)
    else:
        blob = await pulls.find(call.repository, digest)
    headers = _headers(blob)
    if call.has_already(blob.digest):
        return empty(304, headers)
    if call.head:
        return empty(200, {**headers, "Content-Length": str(blob.size)})
    parts = _wanted(call.request.headers, blob, headers["ETag"])
    if parts is None and blob.size == 0:
        return empty(200, {**headers, "Content-Length": "0"})
    if parts is not None and len(parts) == 1 and parts[0].length <= AT_ONCE_BYTES_MAX:
        data = pulls.open(blob).read_cached(parts[0])
        if data is not None:
            call.rooms.traffic.count(Flow.TO_CLIENTS, len(data))
            call.rooms.publishing.counter.sent(call.repository, len(data))
            return web.Response(
                status=206, headers=_part_headers(parts[0], blob, headers), body=data
            )
    try:
        return await _send(call, blob, _body(call, blob, parts, headers))
    finally:
        sent = record_of(call.request).sent  # also of one that was cut off
        call.rooms.publishing.counter.sent(call.repository, sent)


async def delete_blob(call: Call) -> web.StreamResponse:
    """DELETE of a blob from its repository; other repositories keep theirs."""
    digest = parse_digest(call.resource.reference)
    await call.rooms.pulls.unlink(call.repository, digest, call.condition())
    return empty(202, {})


def _headers(blob: Blob) -> dict[str, str]:
    return {
        "Content-Type": OCTET_STREAM,
        "Docker-Content-Digest": blob.digest,
        "ETag": f'"{blob.digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
    }


def _wanted(headers: Mapping[str, str], blob: Blob, etag: str) -> list[ByteRange] | None:
    """Return the parts asked for; None for the whole blob (also when If-Range does not match)."""
    if headers.get("If-Range", etag) != etag:
        return None
    return parse_range(headers.get("Range"), blob.size)


@dataclass(frozen=True, slots=True)
class _Body:
    """An answer's header, its parts with what stands before each, and what stands after all."""

    response: web.StreamResponse
    framed: Sequence[tuple[bytes, ByteRange]]
    end: bytes = b""

    @property
    def length(self) -> int:
        """Return how many bytes follow the header."""
        return len(self.end) + sum(len(frame) + part.length for frame, part in self.framed)


def _body(
    call: Call, blob: Blob, parts: Sequence[ByteRange] | None, headers: dict[str, str]
) -> _Body:
    """Return the answer with these parts: None is the whole blob.

    Several are multipart/byteranges: every part asked for, in its order, none coalesced.
    """
    if parts is None:
        response = web.StreamResponse(status=200, headers=headers)
        return _Body(response, [(b"", ByteRange(0, blob.size - 1))])
    if len(parts) == 1:
        headers = _part_headers(parts[0], blob, headers)
        return _Body(web.StreamResponse(status=206, headers=headers), [(b"", parts[0])])
    boundary = call.rooms.new_boundary()
    headers = {**headers, "Content-Type": f"multipart/byteranges; boundary={boundary}"}
    framed = [(_part_frame(boundary, part, blob.size), part) for part in parts]
    response = web.StreamResponse(status=206, headers=headers)
    return _Body(response, framed, f"\r\n--{boundary}--\r\n".encode())


def _part_headers(part: ByteRange, blob: Blob, headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Content-Range": content_range(part, blob.size)}


def _part_frame(boundary: str, part: ByteRange, size: int) -> bytes:
    return (
        f"\r\n--{boundary}\r\nContent-Type: {OCTET_STREAM}\r\n"
        f"Content-Range: {content_range(part, size)}\r\n\r\n"
    ).encode()


async def _send(call: Call, blob: Blob, body: _Body) -> web.StreamResponse:
    """Send parts with their frames. The header leaves only when the first bytes are verified.

    So a blob without any good copy is a 503, never a 200 that breaks off at once.
    """
    response = body.response
    response.content_length = body.length
    content, record = call.rooms.pulls.open(blob), record_of(call.request)
    traffic, time = call.rooms.traffic, get_running_loop().time
    with sender_for(call.request, response) or nullcontext() as sender:
        for frame, part in body.framed:
            before = frame
            begun = time()
            async with content.read(part, files=sender is not None) as reader:
                while (piece := await reader.next_piece()) is not None:
                    if call.started is None:
                        await call.begin(response)
                    if before:
                        await response.write(before)
                        before = b""
                    if isinstance(piece, FileSlice):
                        assert sender is not None, "files were not asked for"
                        size = piece.stop - piece.start
                        try:
                            await sender.send(piece)
                        finally:
                            piece.file.close()
                    else:
                        size = len(piece)
                        await _write(response, piece)
                    traffic.count(Flow.TO_CLIENTS, size)
                    traffic.count_pulled(size, time() - begun)
                    begun = time()
                    record.sent += size
    if body.end:
        await response.write(body.end)
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, piece: Bytes) -> None:
    view = memoryview(piece)
    for start in range(0, len(view), WRITTEN_AT_ONCE_BYTES):
        await response.write(view[start : start + WRITTEN_AT_ONCE_BYTES])
