"""The rules of an upload in progress (OCI Distribution Spec, "Pushing blobs").

An upload is one number: how many bytes it has. Each request either continues exactly there or
changes nothing:

    Content-Range   Content-Length     what happens
    absent          any                appended (a stream, or .NET's chunks without ranges)
    from offset     equal              appended
    from offset     absent             appended when the body proves to have just that length
    from elsewhere  absent or equal    UploadOutOfOrder, saying where it continues
    any             different          SizeInvalid
    malformed       any                RangeInvalid

Whether it is `from offset` is decided where the offset is known, and whether a body of unknown
length keeps its word where it is read; the rest is decided here.
"""

from treescale.errors import SizeInvalid
from treescale.oci.ranges import ByteRange, parse_content_range


def chunk_announced(content_range: str | None, content_length: int | None) -> ByteRange | None:
    """Return which bytes a chunk claims to be, None when it is simply appended.

    Raises RangeInvalid for a header that says nothing, SizeInvalid when it contradicts the length.
    """
    if content_range is None:
        return None
    part = parse_content_range(content_range)
    if content_length is not None and content_length != part.length:
        raise SizeInvalid(
            f"Content-Range {content_range} is {part.length} bytes, Content-Length {content_length}"
        )
    return part


def progress_range(offset: int) -> str:
    """Return the Range header of an upload with `offset` bytes: clients cannot read `0--1`."""
    return f"0-{max(0, offset - 1)}"
