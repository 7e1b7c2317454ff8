"""Byte ranges of downloads (RFC 9110, 14) and of upload chunks (OCI Distribution Spec).

Both ends are inclusive. A Range header that cannot be understood is ignored, as RFC 9110 14.2 says:
the answer is then the whole blob, which is always right. Parts are never merged or sorted into new
ones, so there is nothing to make expensive.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from treescale.errors import RangeInvalid

PARTS_MAX: Final = 1024
"""podman's partial pulls (zstd:chunked) ask for up to 1,024 parts in one request."""

_PART: Final = re.compile(r"[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")
_CONTENT_RANGE: Final = re.compile(
    r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})(?:/(?:([0-9]{1,19})|\*))?"
)


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Return how many bytes these are."""
        return self.last - self.first + 1


def parse_range(header: str | None, size: int) -> list[ByteRange] | None:
    """Return the parts of a blob of `size` bytes that a Range header asks for, clamped, in order.

    None stands for the whole blob: no header, another unit, not understood, too many parts, or
    parts that overlap. Raises RangeInvalid (with `size`) when no part can be satisfied.
    """
    parts = _split(header)
    if parts is None:
        return None
    if size == 0 and any(first in (None, 0) for first, _ in parts):
        return None  # containerd asks for bytes=0- whatever the size
    ranges = [found for part in parts if (found := _clamp(*part, size)) is not None]
    if not ranges:
        raise RangeInvalid(f"the blob has {size} bytes; none of these were asked for", size=size)
    if any(before.last >= after.first for before, after in pairwise(sorted(ranges))):
        return None
    return ranges


def content_range(part: ByteRange, size: int) -> str:
    """Return the Content-Range header of a part of `size` bytes."""
    return f"bytes {part.first}-{part.last}/{size}"


def unsatisfied_range(size: int) -> str:
    """Return the Content-Range header of a 416."""
    return f"bytes */{size}"


def parse_content_range(text: str) -> ByteRange:
    """Return which bytes an upload chunk says it is: `0-1023`, or HTTP's `bytes 0-1023/…`."""
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        raise RangeInvalid("Content-Range of a chunk is FIRST-LAST in bytes, such as 0-1023")
    found = ByteRange(int(match[1]), int(match[2]))
    if found.last < found.first or found.last >= 2**63:
        raise RangeInvalid("Content-Range of a chunk ends before it begins, or beyond 2^63")
    if match[3] and found.last >= int(match[3]):
        raise RangeInvalid("Content-Range of a chunk ends beyond the whole that it names")
    return found


def _split(header: str | None) -> list[tuple[int | None, int | None]] | None:
    """Return (first, last) as written, None for what was left out; None when not understood."""
    unit, _, text = (header or "").partition("=")
    if unit.strip(" \t").lower() != "bytes" or text.count(",") >= PARTS_MAX:
        return None
    parts: list[tuple[int | None, int | None]] = []
    for word in text.split(","):
        match = _PART.fullmatch(word)
        if match is None or not (match[1] or match[2]):
            return None
        parts.append((int(match[1]) if match[1] else None, int(match[2]) if match[2] else None))
    return parts


def _clamp(first: int | None, last: int | None, size: int) -> ByteRange | None:
    """Return the part of the blob meant, None when it has no byte of it."""
    if first is None:
        first, last = max(0, size - (last or 0)), size - 1
    last = size - 1 if last is None else min(last, size - 1)
    return ByteRange(first, last) if first <= last else None
