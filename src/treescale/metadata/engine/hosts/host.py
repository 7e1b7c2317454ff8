"""Hosts as people write them in a URL, the two ways that libpq has. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

PORT: Final = 5432
PORT_MAX: Final = 65_535
HOSTS_MAX: Final = 16
_AUTHORITY: Final = re.compile(
    r"(?P<before>[a-z]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<after>.*)", re.DOTALL
)
_HOST: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|(?P<name>[^\[\]:,@]*))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Host:
    """One of them."""

    name: str
    """A name, an address, or a directory with a Unix socket."""
    port: int | None = None
    """None is the driver's own: PGPORT, or 5432."""

    def __str__(self) -> str:
        """Return it as people write it."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port or PORT}"


def split_authority(text: str) -> tuple[str, str]:
    """Return a URL without the hosts before its path, if it has several there; and these."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or "," not in found["hosts"] or "@" in found["after"]:
        return text, ""  # an @ there: the commas are in a password that is not written as a URL's
    return found["before"] + found["after"], found["hosts"]


def parse_hosts(authority: str, hosts: Sequence[str], ports: Sequence[str]) -> tuple[Host, ...]:
    """Return the hosts of `HOST:PORT,HOST:PORT`, or of the options `host` and `port` after a `?`.

    Those after the `?` count where both are given, as libpq has it. An option may be there several
    times, or have several words with a comma between. Raises ValueError, saying what is wrong.
    """
    words = list(chain.from_iterable(each.split(",") for each in hosts)) or (
        authority.split(",") if authority else []
    )
    found = [_host(word) for word in words]
    if len(found) > HOSTS_MAX:
        raise ValueError(f"more than {HOSTS_MAX} hosts")
    if len(found) > 1 and not all(host.name for host in found):
        raise ValueError("between two commas a host is missing")
    given = [_port(word) for word in chain.from_iterable(each.split(",") for each in ports)]
    if not given:
        return tuple(found)
    found = found or [Host("")]
    if any(host.port is not None for host in found):
        raise ValueError("a port is said twice, with its host and after '?'")
    if len(given) not in (1, len(found)):
        raise ValueError("there are as many ports as hosts, or one for all")
    given *= len(found) if len(given) == 1 else 1
    return tuple(Host(host.name, port) for host, port in zip(found, given, strict=True))


def _host(word: str) -> Host:
    if word.startswith("/"):
        return Host(word)
    found = _HOST.fullmatch(word)
    if found is None:
        raise ValueError("a host is a name, an address or [an IPv6 address], and perhaps :PORT")
    name = found["v6"] or found["name"]
    try:
        name.encode("idna")  # as the look-up does
    except UnicodeError:
        raise ValueError("a host's name has parts of 1 to 63 characters") from None
    if not name.isprintable():
        raise ValueError("a host's name has no such characters")
    return Host(name, None if found["port"] is None else _port(found["port"]))


def _port(word: str) -> int | None:
    """Return a port; None where nothing is written, which is the default."""
    if not word:
        return None
    if not re.fullmatch("[0-9]{1,5}", word) or not 0 < int(word) <= PORT_MAX:
        raise ValueError(f"a port is a number from 1 to {PORT_MAX}")
    return int(word)
