"""What a URL says by itself: whether it is one, and whether what it names may be asked.

Apart from the client, so that who only looks at a URL does without that.
"""

import socket
from ipaddress import ip_address
from typing import Final

from yarl import URL

from treescale.errors import AddressForbidden
from treescale.outbound.networks import PRIVATE, Networks

URL_CHARACTERS_MAX: Final = 2048
SCHEMES: Final = ("http", "https")
_LOCAL: Final = "localhost"


def check_url(text: str, networks: Networks) -> URL:
    """Return a URL that may be asked as far as it says itself; raises AddressForbidden.

    Where its name leads is seen when it is asked; where a proxy connects, by the proxy.
    """
    target = parse_url(text)
    host = (target.host or "").rstrip(".")
    if host == _LOCAL or host.endswith(f".{_LOCAL}"):
        host = "127.0.0.1"
    host = _dotted(host)
    try:
        ip_address(host)
    except ValueError:
        return target
    why = networks.refusal(host, target.port or 0)
    if why:
        raise forbidden(target, why, networks.setting)
    return target


def _dotted(host: str) -> str:
    """Return an IPv4 address as it is usually written, of the forms that resolvers read as well.

    Those are `2130706433`, `0x7f.1` and `0177.0.0.1`. Anything else is returned as it is.
    """
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):
        return host


def parse_url(text: str) -> URL:
    """Return a URL that can be asked; raises AddressForbidden, without showing what is secret."""
    if len(text) > URL_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise AddressForbidden(f"a URL has no blanks, and at most {URL_CHARACTERS_MAX} characters")
    try:
        url = URL(text)
        host, port = url.host, url.port  # a name that is no punycode is found as it is decoded
    except ValueError:
        raise AddressForbidden("this is no URL: say https://HOST/PATH") from None
    if url.scheme not in SCHEMES or not host or not port:
        raise AddressForbidden("a URL that can be asked begins with https:// or http:// and a host")
    if url.user is not None or url.password is not None:
        raise AddressForbidden("a URL with a name or password in it is not asked: use a header")
    if "%" in host and ":" not in host:
        raise AddressForbidden("a host in a URL is written without %: say https://HOST/PATH")
    return url.with_fragment(None)


def shown(url: URL) -> str:
    """Return what of a URL may be told: the path, the query or a header may be secrets."""
    return f"{url.scheme}://{url.host_subcomponent}:{url.port}"


def forbidden(url: URL, why: str, setting: str = "") -> AddressForbidden:
    """Return the error for a URL that must not be asked; `setting` is what allows networks."""
    told = f"{shown(url)} leads to an address that is not asked from here: {why}"
    if why == PRIVATE and setting:
        told += f"; an administrator allows networks (`treescale cluster set {setting}=NETWORK`)"
    return AddressForbidden(told)
