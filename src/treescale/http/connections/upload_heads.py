"""Which bytes begin the upload of a blob whose body is read past aiohttp: see `SocketBody`.

aiohttp's own parser reads the head, as strictly as ever, but one that expects no body. Whatever is
unusual is left to it altogether, and so are bodies too small to matter.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import HttpVersion11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

from treescale.http.bodies.framing import ChunkedDecoder, Decoder, LengthDecoder

LENGTH_MIN: Final = 64 * 1024
"""Less is in a packet or two, and often here with its head."""
_LIMITS: Final = ("max_line_size", "max_field_size", "max_headers")
_UPLOAD: Final = re.compile(
    # Nothing of it is tried twice, however long a line somebody sends.
    rb"(?:PATCH|PUT|POST) /v2/(?>[^ \r\n]+?/blobs/uploads/)[^ \r\n]*+ HTTP/1\.1\r\n"
)
_BODY: Final = re.compile(rb"\n(?:transfer-encoding:|content-length:[ \t]*[0-9]{5})", re.IGNORECASE)
_LENGTH: Final = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class UploadHead:
    """A request's head, what its body is told by, and what came after the head."""

    message: RawRequestMessage
    decoder: Decoder
    rest: bytes


class UploadHeads:
    """Reads the heads of uploads, for all connections of a server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        """Read as connections with these options do."""
        self._loop = loop
        self._options = {name: options[name] for name in _LIMITS if name in options}
        self._parser: Any = None  # made anew when it was left within a head

    def read(self, data: bytes) -> UploadHead | None:
        """Return the upload that begins with the first byte, its head complete; else None."""
        if not _UPLOAD.match(data):
            return None
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or not _BODY.search(data, 0, end):  # noqa: PLR2004  not found
            return None
        message = self._parse(data[:end])
        decoder = None if message is None else _decoder_of(message)
        if message is None or decoder is None:
            return None
        return UploadHead(message, decoder, data[end:])

    def _parse(self, head: bytes) -> RawRequestMessage | None:
        """Return the one request whose head this is exactly, if it is one."""
        parser, self._parser = self._parser or self._new_parser(), None
        try:
            messages, upgraded, rest = parser.feed_data(head)
        except HttpProcessingError:
            return None  # found, and answered, by the connection's own parser
        if len(messages) != 1 or upgraded or rest:
            return None
        message: RawRequestMessage = messages[0][0]
        if not message.should_close:  # else it takes no other
            self._parser = parser
        return message

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            BaseProtocol(self._loop), self._loop, 0, response_with_body=False, **self._options
        )


def _decoder_of(message: RawRequestMessage) -> Decoder | None:
    """Return what tells the body's end; None where that is not plain, or not worth it."""
    headers = message.headers
    odd = message.version != HttpVersion11 or message.upgrade or message.compression is not None
    if odd or "Upgrade" in headers:
        return None
    lengths, codings = headers.getall("Content-Length", []), headers.getall("Transfer-Encoding", [])
    if message.chunked and not lengths and [each.lower() for each in codings] == ["chunked"]:
        return ChunkedDecoder()
    if len(lengths) == 1 and not codings and _LENGTH.fullmatch(lengths[0]):
        length = int(lengths[0])
        return LengthDecoder(length) if length >= LENGTH_MIN else None
    return None
