"""The header that a TCP proxy sends before everything else: the PROXY protocol, versions 1 and 2.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. Version 1 is a line of text, version 2
binary with a length, after which additions (TLVs) may follow that are skipped. Both say who is at
the other end of the proxy's connection, or that the proxy itself is (`UNKNOWN`, `LOCAL`: its health
checks).

This file decides about bytes that are here already, as many as there are; it reads none.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from treescale.http.proxy.origin import Address, plain_address

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""Version 2 begins with it, and nothing else does."""
BEGIN: Final = b"PROXY "
LINE_BYTES_MAX: Final = 107
"""Of version 1, its end included (section 2.1)."""
FIXED_BYTES: Final = 16
"""Of version 2: signature, version and command, family, length."""
LENGTH_MAX: Final = 4096
"""Of what follows that. Balancers add a few hundred bytes; the format allows 64 KiB."""
HEADER_BYTES_MAX: Final = FIXED_BYTES + LENGTH_MAX
PORT_MAX: Final = 65_535

_LOCAL: Final = 0x20
_PROXIED: Final = 0x21
_FAMILIES: Final = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and over IPv6: the length of one of the two addresses."""
_UNADDRESSED: Final = frozenset({0x00, 0x31})
"""Not said, and a Unix socket of the proxy's: nobody is named."""
_PORTS_BYTES: Final = 4
_LINE_WORDS: Final = 6
_VERSIONS: Final = {"TCP4": 4, "TCP6": 6}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that is here whole: its length, and who is behind it; None for the proxy itself."""

    length: int
    source: tuple[Address, int] | None


class NotProxied(Exception):
    """What came is no header of the PROXY protocol."""


def read_header(data: bytes) -> ProxyHeader | None:
    """Return the header that `data` begins with, None while more must come; raises NotProxied."""
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_binary(data) if len(data) >= FIXED_BYTES else None
    if data.startswith(BEGIN[: len(data)]):
        return _read_line(data)
    raise NotProxied("it does not begin with a PROXY header")


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, LINE_BYTES_MAX)
    if end < 0:
        if len(data) >= LINE_BYTES_MAX or b"\n" in data:
            raise NotProxied("version 1: the line has no end")
        return None
    try:
        words = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise NotProxied("version 1: not ASCII") from None
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2, None)
    if len(words) != _LINE_WORDS or words[1] not in _VERSIONS:
        raise NotProxied("version 1: not TCP4, TCP6 or UNKNOWN with two addresses and two ports")
    _, family, source, target, port, target_port = words
    found = [_line_address(text, _VERSIONS[family]) for text in (source, target)]
    return ProxyHeader(end + 2, (found[0], _line_port(port, target_port)))


def _line_address(text: str, version: int) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise NotProxied("version 1: what should be an address is none") from None
    plain = plain_address(text)
    if address.version != version or plain is None or "%" in text:
        raise NotProxied("version 1: an address of the other family")
    return plain


def _line_port(text: str, other: str) -> int:
    for port in (text, other):
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= PORT_MAX):  # noqa: PLR2004  its digits
            raise NotProxied("version 1: what should be a port is none")
    return int(text)


def _read_binary(data: bytes) -> ProxyHeader | None:
    length = int.from_bytes(data[14:FIXED_BYTES])
    if length > LENGTH_MAX:
        raise NotProxied(f"version 2: {length} bytes of header")
    command, family = data[12], data[13]
    if command not in (_LOCAL, _PROXIED):
        raise NotProxied("version 2: neither PROXY nor LOCAL of version 2")
    whole = FIXED_BYTES + length
    if len(data) < whole:
        return None
    if command == _LOCAL or family in _UNADDRESSED:
        return ProxyHeader(whole, None)
    size = _FAMILIES.get(family)
    if size is None:
        raise NotProxied("version 2: not TCP over IPv4 or IPv6")
    if length < 2 * size + _PORTS_BYTES:
        raise NotProxied("version 2: shorter than its addresses")
    packed = data[FIXED_BYTES : FIXED_BYTES + size]
    port = data[FIXED_BYTES + 2 * size : FIXED_BYTES + 2 * size + 2]
    address = plain_address(str(ipaddress.ip_address(packed)))
    assert address is not None, "it was packed"
    return ProxyHeader(whole, (address, int.from_bytes(port)))
