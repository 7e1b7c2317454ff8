"""Under which addresses and names this machine is known, as far as it knows itself: no look-ups.

What the kernel and /etc/hosts say is read as text by pure functions; a name service may be slow or
away when a server starts.
"""

import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_ADDRESSES4: Final = Path("/proc/net/fib_trie")
_ADDRESSES6: Final = Path("/proc/net/if_inet6")
_NAMES: Final = Path("/etc/hosts")
_ELSEWHERE: Final = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that nobody has (RFC 5737, RFC 3849): asked is only the way there, nothing is sent."""
_GLOBAL: Final = 0x00
_FLEETING: Final = 0x01 | 0x08 | 0x20 | 0x40
"""Flags of an IPv6 address that is temporary, a duplicate, deprecated or tentative."""
_FIELDS6: Final = 6


def addresses() -> list[str]:
    """Return this machine's addresses that others may reach, without those that soon change."""
    found = ipv4_addresses(_text(_ADDRESSES4)) + ipv6_addresses(_text(_ADDRESSES6))
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def names() -> list[str]:
    """Return this machine's names: its own, and those /etc/hosts has for it."""
    own = socket.gethostname()
    return list(dict.fromkeys([own, *host_names(_text(_NAMES), {own, *addresses()})]))


def address_for_others() -> str | None:
    """Return the address with which this machine goes to others; None when it has no network."""
    for where, family in _ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((where, 9))
            except OSError:
                continue
            address = str(probe.getsockname()[0])
        if not ipaddress.ip_address(address).is_loopback:
            return address
    return None


def ipv4_addresses(trie: str) -> list[str]:
    """Return the local addresses in the text of /proc/net/fib_trie."""
    found: dict[str, None] = {}
    before = ""
    for line in trie.splitlines():
        words = line.split()
        if words[:3] == ["/32", "host", "LOCAL"] and before:
            found[before] = None
        before = words[1] if words[:1] == ["|--"] and len(words) > 1 else before
    return list(found)


def ipv6_addresses(table: str) -> list[str]:
    """Return the lasting global addresses in the text of /proc/net/if_inet6."""
    found = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) != _FIELDS6:
            continue
        if int(fields[3], 16) == _GLOBAL and not int(fields[4], 16) & _FLEETING:
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(fields[0]))))
    return found


def host_names(hosts: str, own: Iterable[str]) -> list[str]:
    """Return the names on lines of /etc/hosts that have one of our own names or addresses."""
    known = set(own)
    found: dict[str, None] = {}
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        if known.intersection(words):
            found.update(dict.fromkeys(words[1:]))
    return list(found)


def _text(path: Path) -> str:
    """Return a file's text; a kernel without IPv6 has no such file."""
    return path.read_text(errors="replace") if path.exists() else ""
