"""The rules of an upload in progress (OCI Distribution Spec, "Pushing blobs").

An upload is one number: how many bytes it has. Each request either continues exactly there or
changes nothing:

    Content-Range   Content-Length    what happens
    absent          any               appended (stream, or .NET's chunks without ranges)
    from offset     absent or equal   appended; the body must then have that length
    from offset     different         SizeInvalid
    from elsewhere  any               UploadOutOfOrder, saying where it continues
    malformed       any               RangeInvalid
"""

from typing import Final

from treescale.errors import RangeInvalid, SizeInvalid, UploadOutOfOrder
from treescale.oci.ranges import parse_content_range

blob_bytes_max: Final = 2**63 - 1
"""The database's integer; disks end earlier."""


def check_chunk(
    offset: int, content_range: str | None, content_length: int | None, *, complete: bool = False
) -> int | None:
    """Return how many bytes the request's body must have, None when only its end tells.

    `offset` is what the upload has; `complete` says that this request may also carry no further
    bytes (the PUT that finishes), in which case a range that does not fit an empty body is no error
    as long as it ends where the upload does. Raises UploadOutOfOrder, SizeInvalid, RangeInvalid.
    """
    if content_range is None:
        return _bounded(offset, content_length)
    found = parse_content_range(content_range)
    if complete and content_length == 0 and found.last + 1 == offset:
        return 0
    if found.first != offset:
        raise UploadOutOfOrder(
            f"the upload has {offset} bytes: continue with byte {offset}", offset=offset
        )
    if content_length is not None and content_length != found.length:
        raise SizeInvalid(
            f"Content-Range announces {found.length} bytes, Content-Length {content_length}"
        )
    return found.length


def progress_range(offset: int) -> str:
    """Return the Range header of an upload with `offset` bytes; clients cannot read `0--1`."""
    return f"0-{max(0, offset - 1)}"


def _bounded(offset: int, content_length: int | None) -> int | None:
    if content_length is not None and offset + content_length > blob_bytes_max:
        raise RangeInvalid("no blob is that long")
    return content_length
