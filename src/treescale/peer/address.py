"""Where a server can be reached, read from text: an address that can work, or why it cannot. Pure.

The text was typed by somebody (`--advertise`), or stands in another server's row, where anything
may stand: so nothing here raises but ValueError, whose text is for people, and what comes out fits
in a request's head and in the arguments of a socket.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from yarl import URL

from treescale.errors import Unreachable

ADDRESS_CHARACTERS_MAX: Final = 512
HOST_CHARACTERS_MAX: Final = 253
LABEL_CHARACTERS_MAX: Final = 63
PORT_MAX: Final = 65_535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:\[(?P<bracketed>[^\[\]/@?#]*)\]|(?P<host>[^\[\]/@?#:]*))"
    r"(?::(?P<port>[^/@?#:]*))?/?"
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DIGITS: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """An address that can work. `host` is an IP address or an ASCII name, without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def is_encrypted(self) -> bool:
        """Say whether TLS is spoken there."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Return host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return it as a URL without a path."""
        return f"{self.scheme}://{self.authority}"


@lru_cache(maxsize=1024)
def read_address(text: str) -> PeerAddress:
    """Return the address that `text` means; raises ValueError, which says what is wrong with it."""
    match = _URL.fullmatch(text) if len(text) <= ADDRESS_CHARACTERS_MAX else None
    if match is None or match["scheme"].lower() not in _DEFAULT_PORTS:
        raise ValueError("say http://HOST:PORT or https://HOST:PORT, and nothing more")
    scheme, bracketed = match["scheme"].lower(), match["bracketed"]
    host = _name(match["host"]) if bracketed is None else _ipv6(bracketed)
    port = _DEFAULT_PORTS[scheme] if match["port"] is None else _port(match["port"])
    return PeerAddress(scheme, host, port)


def reachable(text: str) -> PeerAddress:
    """Return the address in a server's row; raises Unreachable when it cannot work."""
    try:
        return read_address(text)
    except ValueError as wrong:
        raise Unreachable(f"its address {text[:100]!r} cannot work: {wrong}") from wrong


def _port(text: str) -> int:
    if _DIGITS.fullmatch(text) is None or not 1 <= int(text) <= PORT_MAX:
        raise ValueError(f"the port {text[:20]!r} is none: a port is a number from 1 to {PORT_MAX}")
    return int(text)


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ValueError(f"[{text}] has a zone, which means something on one machine only")
    try:
        address = IPv6Address(text)
    except AddressValueError as wrong:
        raise ValueError(f"[{text[:60]}] is no IPv6 address: {wrong}") from None
    return _meant(address)


def _name(text: str) -> str:
    """Return the name as it is looked up: lower case, and in ASCII."""
    name = _ascii(text).lower()
    if not name:
        raise ValueError("the host is missing: say http://HOST:PORT")
    labels = name.removesuffix(".").split(".")
    if len(name) > HOST_CHARACTERS_MAX:
        raise ValueError(f"a host's name has up to {HOST_CHARACTERS_MAX} characters")
    for label in labels:
        if not label:
            raise ValueError(f"the host {text!r} has a dot too many: a part of it is empty")
        if len(label) > LABEL_CHARACTERS_MAX:
            raise ValueError(
                f"a part of a host's name has up to {LABEL_CHARACTERS_MAX} characters, "
                f"and {label!r} has {len(label)}"
            )
        if _LABEL.fullmatch(label) is None:
            raise ValueError(
                f"the host {text!r} is no name: {label!r} is not made of letters and digits, "
                "with hyphens between"
            )
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return _meant(IPv4Address(name))
        except AddressValueError:
            raise ValueError(f"the host {text!r} is no IPv4 address") from None
    return name


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        return URL.build(scheme="http", host=text).raw_host or ""
    except ValueError:
        raise ValueError(f"the host {text[:100]!r} is no name that can be looked up") from None


def _meant(address: IPv4Address | IPv6Address) -> str:
    """Return the address; raises ValueError when no single machine can be meant."""
    if address.is_unspecified:
        raise ValueError(f"{address} is every address of a machine: say one that others can reach")
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise ValueError(f"{address} is no address of one machine")
    return str(address)
