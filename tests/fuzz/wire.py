"""HTTP/1.1 by hand: bytes go out as they are, answers come in strictly parsed.

No client library would send what a fuzzer sends, or see what a lenient one overlooks.
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Final, Self

from treescale.http.errors import TABLE

answer_seconds_max: Final = 60.0
"""No answer takes so long, however busy the machine is; what does, hangs."""
header_bytes_max: Final = 64 * 1024
CODES: Final = frozenset(code for code, _ in TABLE.values())
_STATUS: Final = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2}) [ -~]*")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([ -~\x80-\xff]*)")
BODILESS: Final = (204, 304)


class Broken(AssertionError):
    """The server did what no HTTP server may."""


@dataclass(frozen=True)
class Answered:
    """One answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    def check(self, *, head: bool = False) -> None:
        """Raise Broken unless it is an answer as the registry promises them."""
        if self.status >= 500:
            raise Broken(f"{self.status}: {self.body[:500]!r}")
        if self.headers.get("docker-distribution-api-version") != "registry/2.0":
            raise Broken(f"no API version on {self}")
        if self.status < 400 or head:
            return
        if self.headers.get("content-type") != "application/json":
            raise Broken(f"an error that is not JSON: {self}")
        for error in json.loads(self.body)["errors"]:
            if error["code"] not in CODES or not error["message"]:
                raise Broken(f"an error without a documented code: {self}")
        if self.status == 401 and "www-authenticate" not in self.headers:
            raise Broken(f"no challenge: {self}")


@dataclass
class Link:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: bytearray = field(default_factory=bytearray)

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=header_bytes_max)
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        """Send as much as the server takes: one that has closed takes nothing more."""
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:
            return

    async def answer(self, *, head: bool) -> Answered | None:
        """Return the next final answer; None when the server closed the connection instead."""
        try:
            async with asyncio.timeout(answer_seconds_max):
                while (found := await self._answer(head=head)) is not None and found.status < 200:
                    pass
                return found
        except TimeoutError:
            raise Broken(f"nothing came for {answer_seconds_max} s") from None
        except ConnectionError:
            return None

    async def _answer(self, *, head: bool) -> Answered | None:
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        except asyncio.IncompleteReadError as ended:
            if ended.partial:
                raise Broken(f"the connection ended within a header: {ended.partial!r}") from None
            return None
        status, headers = _parse(lines)
        length = headers.get("content-length", "0")
        if head and headers.get("connection") == "close":
            # What cannot be parsed is not known to be a HEAD; nothing may follow its answer then.
            return Answered(status, headers, await self.reader.read())
        if head or status < 200 or status in BODILESS:
            return Answered(status, headers, b"")
        if "transfer-encoding" in headers or not re.fullmatch("[0-9]{1,9}", length):
            raise Broken(f"an answer without a length: {headers}")
        try:
            return Answered(status, headers, await self.reader.readexactly(int(length)))
        except asyncio.IncompleteReadError as cut:
            raise Broken(f"{len(cut.partial)} bytes of {length}: {headers}") from None

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


def _parse(lines: list[bytes]) -> tuple[int, dict[str, str]]:
    found = _STATUS.fullmatch(lines[0])
    if found is None:
        raise Broken(f"no status line: {lines[0]!r}")
    headers = {"connection": "close"} if found[1] != b"1.1" else {}
    for line in lines[1:]:
        named = _FIELD.fullmatch(line)
        if named is None:
            raise Broken(f"no header field: {line!r}")
        headers[named[1].decode().lower()] = named[2].decode("latin-1")
    return int(found[2]), headers


def request(
    method: str, target: str, headers: list[tuple[str, str]], body: bytes | None, *, chunk: int = 0
) -> bytes:
    """Return a request's bytes; the body with its length, or in chunks of `chunk` bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: registry"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is None:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    if not chunk:
        lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body
    lines.append("Transfer-Encoding: chunked")
    pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + framed
