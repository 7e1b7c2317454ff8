"""Blobs over HTTP: HEAD, GET with every form of Range (RFC 9110 section 14), DELETE."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Final

from aiohttp import web

from treescale.api.call import OCTET_STREAM, Call, empty
from treescale.api.sending import Sender, sender_for
from treescale.chunks.files import FileSlice
from treescale.chunks.store import Bytes
from treescale.metadata.records import Blob
from treescale.oci.digest import parse_digest
from treescale.oci.ranges import ByteRange, content_range, parse_range
from treescale.registry.pull import Content
from treescale.traffic import Flow

BOUNDARY: Final = "treescale-part-boundary-9d0f5b6c3a"
at_once_bytes_max: Final = 256 * 1024
"""A part this small leaves with its header, if it is at hand."""
written_at_once_bytes: Final = 64 * 1024
"""What was read as a whole is given to the transport in pieces the processor's cache holds."""


async def get_blob(call: Call) -> web.StreamResponse:
    """GET and HEAD of a blob, whole or in parts."""
    blob = await call.rooms.pulls.find(call.repository, parse_digest(call.route.reference))
    headers = _headers(blob)
    if call.has(headers["ETag"]):
        return empty(304, headers)
    if call.head:
        return empty(200, {**headers, "Content-Length": str(blob.size)})
    parts = _wanted(call.request.headers, blob, headers["ETag"])
    if parts is None:
        return await _send_whole(call, blob, headers)
    if len(parts) == 1:
        return await _send_part(call, blob, parts[0], headers)
    return await _send_parts(call, blob, parts, headers)


async def delete_blob(call: Call) -> web.StreamResponse:
    """DELETE of a blob from its repository; other repositories keep theirs."""
    await call.rooms.pulls.unlink(call.repository, parse_digest(call.route.reference))
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


async def _send_whole(call: Call, blob: Blob, headers: dict[str, str]) -> web.StreamResponse:
    if blob.size == 0:
        return empty(200, {**headers, "Content-Length": "0"})
    response = web.StreamResponse(status=200, headers=headers)
    return await _send(call, response, blob, [(b"", ByteRange(0, blob.size - 1))], b"")


async def _send_part(
    call: Call, blob: Blob, part: ByteRange, headers: dict[str, str]
) -> web.StreamResponse:
    headers = {**headers, "Content-Range": content_range(part, blob.size)}
    if part.length <= at_once_bytes_max:
        data = call.rooms.pulls.open(blob).read_cached(part)
        if data is not None:
            call.rooms.traffic.count(Flow.TO_CLIENTS, len(data))
            return web.Response(status=206, headers=headers, body=data)
    response = web.StreamResponse(status=206, headers=headers)
    return await _send(call, response, blob, [(b"", part)], b"")


async def _send_parts(
    call: Call, blob: Blob, parts: Sequence[ByteRange], headers: dict[str, str]
) -> web.StreamResponse:
    """Send multipart/byteranges: every part asked for, in its order, none coalesced."""
    headers = {**headers, "Content-Type": f"multipart/byteranges; boundary={BOUNDARY}"}
    response = web.StreamResponse(status=206, headers=headers)
    framed = [(_part_header(part, blob.size), part) for part in parts]
    return await _send(call, response, blob, framed, f"\r\n--{BOUNDARY}--\r\n".encode())


def _part_header(part: ByteRange, size: int) -> bytes:
    return (
        f"\r\n--{BOUNDARY}\r\nContent-Type: {OCTET_STREAM}\r\n"
        f"Content-Range: {content_range(part, size)}\r\n\r\n"
    ).encode()


async def _send(
    call: Call,
    response: web.StreamResponse,
    blob: Blob,
    framed: Sequence[tuple[bytes, ByteRange]],
    end: bytes,
) -> web.StreamResponse:
    """Send parts with their frames. The header leaves only when the first bytes are verified.

    So a blob without any good copy is a 503, never a 200 that breaks off at once.
    """
    response.content_length = len(end) + sum(len(frame) + part.length for frame, part in framed)
    content = call.rooms.pulls.open(blob)
    with sender_for(call.request, response) or nullcontext() as sender:
        for frame, part in framed:
            await _send_framed(call, response, content, frame, part, sender)
    if end:
        await response.write(end)
    await response.write_eof()
    return response


async def _send_framed(
    call: Call,
    response: web.StreamResponse,
    content: Content,
    frame: bytes,
    part: ByteRange,
    sender: Sender | None,
) -> None:
    """Send one part after its frame."""
    async with content.read(part, files=sender is not None) as reader:
        while (piece := await reader.next_piece()) is not None:
            if call.started is None:
                await call.begin(response)
            if frame:
                await response.write(frame)
                frame = b""
            await _send_piece(response, piece, sender)
            size = piece.stop - piece.start if isinstance(piece, FileSlice) else len(piece)
            call.rooms.traffic.count(Flow.TO_CLIENTS, size)


async def _send_piece(
    response: web.StreamResponse, piece: Bytes | FileSlice, sender: Sender | None
) -> None:
    if not isinstance(piece, FileSlice):
        await _write(response, piece)
        return
    assert sender is not None, "files were not asked for"
    try:
        await sender.send(piece)
    finally:
        piece.file.close()


async def _write(response: web.StreamResponse, piece: Bytes) -> None:
    view = memoryview(piece)
    for start in range(0, len(view), written_at_once_bytes):
        await response.write(view[start : start + written_at_once_bytes])
