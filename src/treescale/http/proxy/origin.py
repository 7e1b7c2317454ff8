"""Whom a request came from and under which address it was asked, when proxies stand between.

Each proxy of a chain appends to lists (`X-Forwarded-For`, `Forwarded`) what it saw, so the right
end was written by the nearest, and whatever a client wrote itself stands to the left of what the
first proxy of ours added. Walked from the right, past the addresses that are trusted, the first one
that is not is the client. Everything further left is hearsay.

    client 203.0.113.7 ──> 10.0.0.2 ──> 10.0.0.3 ──> us        trusted: 10.0.0.0/8
    X-Forwarded-For: made.up, 203.0.113.7, 10.0.0.2            peer: 10.0.0.3
                              ^ the client, behind two proxies

Scheme and host come from the proxy that the client spoke to: where every proxy appends, from the
entry that stands as far from the right as there are proxies; where they set or pass on, from the
only one.

Decided here, and told in docs/operations.md ("Behind a proxy"):
- What is no address ends the walk at the last proxy that was good: the client counts as that.
- `X-Forwarded-…` and `Forwarded` (RFC 7239) that contradict each other: one of them was written by
  the client, and nobody can say which. The client counts as the proxy it came through.
- A host is a name or an address with a port, or it is nobody's: a realm is always one valid URL.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ADDRESSES_REMEMBERED_MAX: Final = 4096
"""Texts whose meaning is not worked out anew with each request."""
HOPS_MAX: Final = 32
"""Proxies in a row that are looked past; more are no chain, but somebody who plays with us."""
ADDRESS_CHARACTERS_MAX: Final = 128
LOCAL_SOCKET: Final = "unix"
"""The address of whoever comes through a Unix socket, and says no other."""
FORWARDING_HEADERS: Final = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "Forwarded",
)
"""What proxies write, and nobody else has a reason to."""
SCHEMES: Final = frozenset({"http", "https"})
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
PORT_MAX: Final = 65_535

_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}")
"""A port as RFC 7239 has it: a number, or a made-up word (`obfport`)."""
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_MAPPED_BITS: Final = 96
_NAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:]{1,254})(?::([0-9]{0,5}))?")
_PAIR: Final = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    r'(?:"((?:[^"\\]|\\.)*)"|([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+))[ \t]*(?:;|\Z)'
)
"""One `name=value` of Forwarded (RFC 7239, 4); unquoted addresses with colons are met in the wild
and let through."""


class Headers(Protocol):
    """The headers of a request, several lines of a name included."""

    def getall(self, key: str, default: Sequence[str]) -> Sequence[str]:
        """Return all values of a name, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What trusted proxies say of a request; None of what they do not say."""

    client: Address | None = None
    scheme: str | None = None
    host: str | None = None
    port: str | None = None
    contradicts: bool = False
    """Both kinds of headers were there, and named two clients."""


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy said of the request that it passed on; texts as they came."""

    client: str = ""
    scheme: str = ""
    host: str = ""


class Proxies:
    """The proxies whose word counts."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(unmapped_network(network) for network in networks)

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._networks)

    def trusts(self, address: Address) -> bool:
        """Say whether the address is a proxy's."""
        return any(address in network for network in self._networks)

    def forwarding(self, peer: Address | None, headers: Headers) -> Forwarding:
        """Return what counts of a request's headers, which came from `peer`: nothing of a stranger.

        None is whoever comes through a Unix socket, and trusted: the file's mode decides who may.
        """
        if peer is not None and not self.trusts(peer):
            return Forwarding()
        old, new = self._old(headers), self._new(headers)
        if new is None:
            return old or Forwarding()
        if old is None:
            return new
        if old.client == new.client:
            return Forwarding(old.client, old.scheme or new.scheme, old.host or new.host, old.port)
        if old.client is not None and new.client is not None:
            return Forwarding(None, old.scheme, old.host, old.port, contradicts=True)
        # One kind names no client at all; what it may say of scheme and host is kept.
        return Forwarding(
            None, old.scheme or new.scheme, old.host or new.host, old.port, contradicts=True
        )

    def _old(self, headers: Headers) -> Forwarding | None:
        """Read `X-Forwarded-…`; None when there is none of them."""
        clients, schemes, hosts, ports = (
            _list(headers.getall(f"X-Forwarded-{name}", ()))
            for name in ("For", "Proto", "Host", "Port")
        )
        if not (clients or schemes or hosts or ports):
            return None
        client, hops = self._walk(reversed(clients))
        return Forwarding(
            client,
            _scheme(_written(schemes, hops)),
            parse_host(_written(hosts, hops)),
            _port(_written(ports, hops)),
        )

    def _new(self, headers: Headers) -> Forwarding | None:
        """Read `Forwarded`; None when there is none."""
        lines = headers.getall("Forwarded", ())
        if not lines:
            return None
        said = [hop for line in lines for hop in parse_forwarded(line)]
        client, hops = self._walk(hop.client for hop in reversed(said))
        # Unlike the lists of X-Forwarded-…, each entry is one proxy's, whatever it left out.
        first = said[-min(hops, len(said)) :] if said else []
        schemes = [hop.scheme for hop in first if hop.scheme]
        hosts = [hop.host for hop in first if hop.host]
        return Forwarding(
            client,
            _scheme(schemes[0]) if schemes else None,
            parse_host(hosts[0]) if hosts else None,
        )

    def _walk(self, clients: Iterable[str]) -> tuple[Address | None, int]:
        """Return the first address, from the nearest on, that is no proxy; and how many are."""
        found: Address | None = None
        hops = 1  # the peer
        for text in clients:
            address = parse_address(text)
            if address is None:
                break
            found = address
            if not self.trusts(address) or hops == HOPS_MAX:
                break
            hops += 1
        return found, hops


def parse_address(text: str) -> Address | None:
    """Return an address as proxies write it: bare, with a port, in brackets or quotes.

    IPv4 within IPv6 is IPv4, an interface's name (`%eth0`) is left out; None for what is none.
    """
    text = text.strip(" \t")
    if len(text) > ADDRESS_CHARACTERS_MAX:
        return None
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    host, port = text, ""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
        port = port[1:] if port else ""
        if ":" not in host or text.endswith(":"):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return None
    if port and _PORT.fullmatch(port) is None:
        return None
    return plain_address(host)


@functools.lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def plain_address(text: str) -> Address | None:
    """Return an address without anything around it, in its one form; None for what is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def unmapped_network(network: Network) -> Network:
    """Return a network of IPv4 within IPv6 as what it is."""
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        first = network.network_address.ipv4_mapped
        assert first is not None, "it is in there"
        return ipaddress.IPv4Network((first, network.prefixlen - _MAPPED_BITS))
    return network


def parse_network(text: str) -> Network:
    """Return the network, or the single address, that is written; raises ValueError with advice."""
    text = text.strip()
    try:
        return unmapped_network(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        inside = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an address (10.0.0.5) nor a network (10.0.0.0/8)"
        ) from None
    raise ValueError(
        f"{text} is neither one address nor a whole network: say {inside.ip} or {inside.network}"
    )


def parse_forwarded(text: str) -> list[_Hop]:
    """Return what the hops of a line of Forwarded say, the farthest first (RFC 7239, 4).

    What cannot be read stands as `unknown`, and what is left of it in the line is left out: nobody
    knows whose it is.
    """
    hops: list[_Hop] = []
    for element in reversed(list(_elements(text))):
        if not element.strip(" \t"):
            continue
        pairs = _pairs(element)
        if pairs is None:
            hops.append(_Hop("unknown"))
            break
        hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
    return hops[::-1]


def parse_host(text: str | None) -> str | None:
    """Return `HOST` or `HOST:PORT` fit for a URL; None when it is not that."""
    found = _HOST.fullmatch(text.strip(" \t")) if text else None
    if found is None:
        return None
    host, port = found[1], found[2] or ""
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    elif _NAME.fullmatch(host) is None or _looks_numeric(host):
        return None
    if port and not 0 < int(port) <= PORT_MAX:
        return None
    return f"{host}:{port}" if port else host


def origin(
    forwarding: Forwarding, *, secure: bool, host: str | None, own: tuple[str, int] | None
) -> str:
    """Return scheme and host as the client knows us, as one valid URL without a path.

    `host` is the request's Host, `own` the address of this end of the connection, for when nobody
    says anything better.
    """
    scheme = forwarding.scheme or ("https" if secure else "http")
    known = forwarding.host or parse_host(host)
    if known is None:
        return f"{scheme}://{own_host(own)}"
    without_port = known.endswith("]") or ":" not in known
    if without_port and forwarding.port not in (None, DEFAULT_PORTS[scheme]):
        # The proxy passed on a Host without the port that clients use (nginx: $host).
        known = f"{known}:{forwarding.port}"
    return f"{scheme}://{known}"


def own_host(own: tuple[str, int] | None) -> str:
    """Return an address of ours as it stands in a URL."""
    address = None if own is None else plain_address(own[0])
    if own is None or address is None:
        return "localhost"
    host = str(address) if address.version == 4 else f"[{address}]"  # noqa: PLR2004
    return f"{host}:{own[1]}"


def forwarded_by_nobody(peer: Address, headers: Mapping[str, str]) -> bool:
    """Say whether a request looks as if a proxy passed it on from nearby, though none is known."""
    return not peer.is_global and any(name in headers for name in FORWARDING_HEADERS)


def _looks_numeric(host: str) -> bool:
    """Say whether a URL's reader would take the host for an IPv4 address, and it is none."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdecimal() and plain_address(host) is None


def _list(lines: Sequence[str]) -> list[str]:
    """Return the entries of a list that may stand in several lines (RFC 9110, 5.6.1)."""
    return [entry for line in lines for part in line.split(",") if (entry := part.strip(" \t"))]


def _written(entries: Sequence[str], hops: int) -> str | None:
    """Return what the farthest of so many proxies wrote: each appended, or one set it for all."""
    return entries[-min(hops, len(entries))] if entries else None


def _scheme(text: str | None) -> str | None:
    scheme = (text or "").strip('"').lower()
    return scheme if scheme in SCHEMES else None


def _port(text: str | None) -> str | None:
    digits = text is not None and re.fullmatch("[0-9]{1,5}", text) is not None
    return str(int(text)) if digits and text and 0 < int(text) <= PORT_MAX else None


def _elements(text: str) -> Iterator[str]:
    """Split at the commas that stand in no quotes."""
    begin, quoted, escaped = 0, False, False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


def _pairs(element: str) -> dict[str, str] | None:
    """Return the pairs of one element by name in lower case; None when it is malformed."""
    found: dict[str, str] = {}
    at = 0
    while at < len(element):
        if element[at] in "; \t":
            at += 1
            continue
        pair = _PAIR.match(element, at)
        if pair is None or pair[1].lower() in found:  # each at most once (RFC 7239, 4)
            return None
        quoted = pair[2]
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
        found[pair[1].lower()] = value
        at = pair.end()
    return found
