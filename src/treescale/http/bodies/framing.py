"""Where a request's body ends (RFC 9112, 6 and 7): decoders that take the framing out in place.

A decoder is given memory that was just filled and moves what is body to its begin: no other memory
is needed. It is stricter than aiohttp's parser wherever the two differ (a test compares them), as
whoever stands before us may have found another end. Extensions of chunks and trailers are read
over; both are bounded.
"""

import re
from typing import Final, Protocol

from treescale.errors import BodyIncomplete

SIZE_LINE_BYTES_MAX: Final = 4096
"""A chunk's size with its extensions, which nobody sends."""
TRAILER_BYTES_MAX: Final = 8192
"""Of all trailers together; likewise."""
_PEEKED_BYTES: Final = 32
"""Where a chunk's size is looked for first."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_EXTENSIONS: Final = rb"(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]+)%b\r\n" % _EXTENSIONS)
_SIZE_DIGITS_MAX: Final = 15
"""Behind zeros: more is no length of anything."""
_SIZE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]*\r?|[0-9A-Fa-f]+;[^\r\n]*\r?")
_NEXT: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
"""What stands between nearly all chunks: the end of one, the plain size of the next."""
_TRAILER: Final = re.compile(rb"(%b):[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN)
_NO_TRAILERS: Final = frozenset(
    b"content-length transfer-encoding content-encoding content-type content-location host "
    b"authorization cookie expect upgrade connection max-forwards te trailer user-agent "
    b"content-range etag server".split()
)
"""Fields that say how a message is to be read (RFC 9110, 6.5.1) must come before it."""


class Decoder(Protocol):
    """Tells a body from its framing, and from what follows it."""

    ended: bool
    """The body is complete."""

    def wanted(self, room: int) -> int:
        """Return how many bytes should be read next, at most so many."""
        ...

    def decode(self, view: memoryview, count: int) -> tuple[int, int]:
        """Take the first `count` bytes, which were just received.

        Return how many bytes of body are at the view's begin now, and how many were used up: the
        others follow the body. Raises BodyIncomplete for framing that cannot be read.
        """
        ...


class LengthDecoder:
    """A body with a Content-Length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = length == 0

    def wanted(self, room: int) -> int:
        """Return so much that nothing behind the body is read."""
        return min(room, self._left)

    def decode(self, view: memoryview, count: int) -> tuple[int, int]:
        """Take bytes; see Decoder."""
        del view
        used = min(count, self._left)
        self._left -= used
        self.ended = self._left == 0
        return used, used


class ChunkedDecoder:
    """A body in chunks."""

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        """What is here of a line that is not complete."""
        self._between = b""
        """What stands before the next size: the end of the chunk before."""
        self._trailing = False
        self._trailer_bytes = 0
        self.ended = False

    def wanted(self, room: int) -> int:
        """Return all: a chunk's framing is smaller than what a read costs."""
        return room

    def decode(self, view: memoryview, count: int) -> tuple[int, int]:
        """Take bytes; see Decoder."""
        read = write = 0
        while read < count and not self.ended:
            if self._left:
                size = min(self._left, count - read)
                if read != write:
                    view[write : write + size] = view[read : read + size]
                read += size
                write += size
                self._left -= size
                continue
            # Behind what was received stands anything: memory is used again.
            peeked = view[read : min(read + _PEEKED_BYTES, count)]
            if not (self._line or self._trailing) and (found := _NEXT.match(peeked)):
                size = int(found[1], 16)
                if size and self._between:
                    self._left = size
                    read += found.end()
                    continue
            read += self._read_line(view[read:count])
        return write, read

    def _read_line(self, view: memoryview) -> int:
        """Take bytes of a line, up to its end; return how many."""
        begun = len(self._line)
        data = self._line + bytes(view[:SIZE_LINE_BYTES_MAX])
        read = self._read_trailer if self._trailing else self._read_size
        return read(data) - begun

    def _read_size(self, data: bytes) -> int:
        """Read the end of a chunk and the next one's size, when both are here."""
        between = self._between
        if not data.startswith(between[: len(data)]):
            raise BodyIncomplete("the body has a chunk that is longer than it said")
        found = _SIZE.match(data, len(between))
        length = (len(data) if found is None else found.end()) - len(between)
        if length > SIZE_LINE_BYTES_MAX:
            raise BodyIncomplete("the body has a chunk with too many extensions")
        if found is None:
            if not _SIZE_BEGUN.fullmatch(data, min(len(data), len(between))):
                raise BodyIncomplete("the body has a chunk whose size cannot be read")
            self._line = data
            return len(data)
        digits = found[1].lstrip(b"0")
        if len(digits) > _SIZE_DIGITS_MAX:
            raise BodyIncomplete("the body has a chunk longer than any can be")
        self._left = int(digits or b"0", 16)
        self._trailing = self._left == 0
        self._line, self._between = b"", b"\r\n"
        return found.end()

    def _read_trailer(self, data: bytes) -> int:
        """Read the next line behind the last chunk, when it is here."""
        end = data.find(b"\n") + 1
        if self._trailer_bytes + (end or len(data)) > TRAILER_BYTES_MAX:
            raise BodyIncomplete("the body has too many trailers")
        if not end:
            self._line = data
            return len(data)
        line, self._line = data[:end], b""
        self._trailer_bytes += end
        if line == b"\r\n":
            self.ended = True
            return end
        found = _TRAILER.fullmatch(line)
        if found is None or found[1].lower() in _NO_TRAILERS:
            raise BodyIncomplete("the body has a trailer that cannot be read")
        return end
