"""Which addresses may be asked, for one use: public ones, and networks that were allowed. Pure.

The address is that of the socket, never a name: what a name leads to may change between two looks.
Addresses in which another one is written (IPv4 in IPv6, 6to4, Teredo, NAT64, SIIT, ISATAP) are
judged by both.
Some may never be asked, whatever was allowed: this machine itself, its link, the addresses at which
clouds tell their machines secrets, and what is no one machine.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from treescale.errors import SettingInvalid

Address = IPv4Address | IPv6Address
NETWORKS_MAX: Final = 64
PORT_MAX: Final = 65_535
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"))
"""NAT64 (RFC 6052), SIIT (RFC 7915): the last 32 bits are an IPv4 address."""
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out to the Internet (IANA, "IPv6 Global Unicast Address Space")."""
_OF_NOBODY: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""For protocols (RFC 6890), relays that are no more (RFC 7526) and examples (RFC 9637): to Python,
or some versions of it, these are public."""
_LOW_32_BITS: Final = 0xFFFF_FFFF
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
"""Before the IPv4 address, in the half of an address that names the interface (RFC 5214, 6.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A network, and the one port of it that is meant; None: all."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    def covers(self, address: Address, port: int) -> bool:
        """Return whether this is part of it."""
        return address in self.network and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """What is never asked, and what it is, for people."""

    target: Target
    what: str


def _never(text: str, what: str) -> Forbidden:
    return Forbidden(Target(ip_network(text)), what)


NEVER: Final = (
    _never("127.0.0.0/8", "the server itself"),
    _never("::1/128", "the server itself"),
    _never("0.0.0.0/8", "the server itself"),
    _never("::/128", "the server itself"),
    _never("169.254.0.0/16", "link-local"),
    _never("fe80::/10", "link-local"),
    _never("fd00:ec2::/32", "a cloud's metadata"),
    _never("fd20:ce::254/128", "a cloud's metadata"),
    _never("168.63.129.16/32", "a cloud's metadata"),
    _never("100.100.100.200/32", "a cloud's metadata"),
    _never("192.0.0.192/32", "a cloud's metadata"),
    _never("224.0.0.0/4", "multicast"),
    _never("ff00::/8", "multicast"),
    _never("240.0.0.0/4", "reserved"),
)


PRIVATE: Final = "in a private network"
_PRIVATE: Final = _never("0.0.0.0/0", PRIVATE)


@dataclass(frozen=True, slots=True)
class Networks:
    """What one use may ask. `never` is for whoever adds to it (the server's own listeners)."""

    allowed: tuple[Target, ...] = ()
    never: tuple[Forbidden, ...] = NEVER
    setting: str = ""
    """What an administrator sets to allow more."""

    def refusal(self, host: str, port: int) -> str:
        """Return why this IP address may not be asked, without naming it; "" when it may.

        Of a private address that is not allowed the answer is the same whatever is there: else
        whoever has names that lead where they like could find out where the database listens.
        """
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return "no IP address"
        found = [*forms(address)]
        never = [one for form in found for one in self.never if one.target.covers(form, port)]
        if not all(self._may(form, port) for form in found):
            never = [*(one for one in never if one in NEVER), _PRIVATE]
        return never[0].what if never else ""

    def _may(self, address: Address, port: int) -> bool:
        return _is_global(address) or any(one.covers(address, port) for one in self.allowed)


def is_public(host: str) -> bool:
    """Return whether an IP address is of the Internet, in each form that is written in it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return all(_is_global(form) for form in forms(address))


def _is_global(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return any(address in each for each in _TRANSLATED)  # and by what is written in it
    return address.is_global and not any(address in each for each in _OF_NOBODY)


def forms(address: Address) -> Iterator[Address]:
    """Yield the address, and the one that is written in it."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped  # it is that one, written otherwise
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield address.teredo[1]
    is_isatap = int(address) >> 32 & _LOW_32_BITS in _ISATAP
    if is_isatap or any(address in each for each in _TRANSLATED):
        yield IPv4Address(int(address) & _LOW_32_BITS)


def parse_targets(text: str) -> tuple[Target, ...]:
    """Return the networks of `10.0.0.0/8,192.168.1.5:8080,[fd00::/8]:443`; "" is none.

    An address alone is a network of one. Raises SettingInvalid.
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if len(words) > NETWORKS_MAX:
        raise SettingInvalid(f"{len(words)} networks are too many: {NETWORKS_MAX} at most")
    return tuple(parse_target(word) for word in words)


def check_allowed(targets: Iterable[Target]) -> None:
    """Raise SettingInvalid for a network that is allowed in vain: none of it is ever asked."""
    for target in targets:
        for one in NEVER:
            never, asked = one.target.network, target.network
            if never.version == asked.version and asked.subnet_of(never):  # type: ignore[arg-type]
                raise SettingInvalid(
                    f"{asked} is {one.what}, which is never asked, whatever is allowed: say the "
                    "address that a receiver has in its network"
                )


def parse_target(text: str) -> Target:
    """Return a network with or without a port; raises SettingInvalid."""
    network, port = text, ""
    if text.startswith("["):
        network, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise _wrong(text)
        port = rest[1:]
        if rest and not port:
            raise _wrong(text)
    elif text.count(":") == 1:
        network, _, port = text.partition(":")
        if not port:
            raise _wrong(text)
    if port and (_PORT.fullmatch(port) is None or int(port) > PORT_MAX):
        raise _wrong(text)
    try:
        return Target(ip_network(network), int(port) if port else None)
    except ValueError:
        raise _wrong(text) from None


def _wrong(text: str) -> SettingInvalid:
    return SettingInvalid(
        f"{text[:100]!r} is no network: say 10.0.0.0/8, 192.168.1.5:8080 or [fd00::/8]:443"
    )
