"""The client: one request, its answer whole, within limits, to an address that may be asked.

Which address that is is looked at when its socket is made, so a name that leads elsewhere a moment
later gains nothing. Redirects are answers like any other and are not followed; no cookie is kept,
no proxy is taken from the environment, nothing is decompressed, and no connection is used twice.
With a proxy of ours the proxy connects: it has to refuse what must not be asked, and here only what
a URL says by itself is looked at. Errors name the host, never the path, the query or a header, as
those may be secrets.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from aiohttp.client_exceptions import ClientConnectorCertificateError, ClientSSLError
from multidict import CIMultiDictProxy
from yarl import URL

import treescale
from treescale.errors import AddressForbidden, OutboundFailed, SettingInvalid
from treescale.outbound.networks import Networks

URL_CHARACTERS_MAX: Final = 2048
CHUNK_BYTES: Final = 16 * 1024
HEAD_BYTES_MAX: Final = 8 * 1024
"""Of an answer's first line, and of each of its fields."""
SCHEMES: Final = ("http", "https")
_LOCAL: Final = "localhost"


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a request."""

    seconds: float = 15.0
    """From the look-up of the name to the last byte of the answer."""
    answer_bytes: int = 64 * 1024


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Outbound:
    """What all uses of a server share: whom TLS trusts, and the proxy."""

    def __init__(self, *, ca_file: str = "", proxy: str = "") -> None:
        """Trust the system's authorities, and those in `ca_file`; raises SettingInvalid."""
        self._tls = ssl.create_default_context()
        if ca_file:
            try:
                self._tls.load_verify_locations(ca_file)
            except (OSError, ssl.SSLError) as error:
                why = getattr(error, "strerror", None) or "no certificates in PEM"
                raise SettingInvalid(f"cannot use {ca_file} as outbound_ca: {why}") from None
        self._proxy = parse_proxy(proxy) if proxy else None

    def client(self, networks: Networks, limits: Limits = LIMITS) -> "OutboundClient":
        """Return a client for one use: what it may ask, and how long and large an answer is."""
        return OutboundClient(self._tls, self._proxy, networks, limits)


class OutboundClient:
    """Asks for one use."""

    def __init__(
        self, tls: ssl.SSLContext, proxy: URL | None, networks: Networks, limits: Limits
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._networks = networks
        self._limits = limits

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return its answer, of any status.

        Raises AddressForbidden when the URL, or all it leads to, may not be asked; OutboundFailed
        when no whole answer came within the limits.
        """
        target = parse_url(url)
        self._check_written(target)
        refused: list[str] = []
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._ask(method, target, {**(headers or {})}, body, refused)
        except TimeoutError:
            raise OutboundFailed(
                f"{_shown(target)} gave no whole answer within {self._limits.seconds:g} s"
            ) from None
        except (ClientConnectorCertificateError, ClientSSLError):
            raise OutboundFailed(
                f"{_shown(target)} has no certificate for its name that is trusted here"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError):
            if refused:
                raise _forbidden(target, refused[0]) from None
            raise OutboundFailed(f"{_shown(target)} cannot be reached, or broke off") from None

    async def _ask(
        self, method: str, target: URL, headers: dict[str, str], body: bytes, refused: list[str]
    ) -> Answer:
        common = {
            "User-Agent": f"TreeScale/{treescale.__version__}",
            "Accept-Encoding": "identity",
        }
        async with (
            self._session(refused) as session,
            session.request(
                method,
                target,
                headers={**common, **headers},
                data=body or None,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=self._tls,
            ) as response,
        ):
            return Answer(response.status, response.headers, await self._body(target, response))

    def _session(self, refused: list[str]) -> aiohttp.ClientSession:
        """Return what makes the one connection; why an address is not asked goes to `refused`."""
        make = None if self._proxy else partial(self._socket, refused)
        connector = aiohttp.TCPConnector(
            force_close=True,
            use_dns_cache=False,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=make,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
        )

    def _socket(self, refused: list[str], found: tuple[Any, ...]) -> socket.socket:
        """Return a socket for the very address that is connected to; raises OSError."""
        family, kind, protocol, _, place = found
        why = self._networks.refusal(str(place[0]), int(place[1]))
        if why:
            refused.append(why)
            raise OSError(why)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003  it takes no keyword
        return made

    async def _body(self, target: URL, response: aiohttp.ClientResponse) -> bytes:
        limit, body = self._limits.answer_bytes, bytearray()
        async for piece in response.content.iter_chunked(CHUNK_BYTES):
            body += piece
            if len(body) > limit:
                raise OutboundFailed(f"{_shown(target)} answers with more than {limit} bytes")
        return bytes(body)

    def _check_written(self, target: URL) -> None:
        """Raise AddressForbidden for what the URL itself says, also where a proxy connects."""
        host = (target.host or "").rstrip(".")
        if host == _LOCAL or host.endswith(f".{_LOCAL}"):
            host = "127.0.0.1"
        try:
            ip_address(host)
        except ValueError:
            return
        why = self._networks.refusal(host, target.port or 0)
        if why:
            raise _forbidden(target, why)


def parse_url(text: str) -> URL:
    """Return a URL that can be asked; raises AddressForbidden, without showing what is secret."""
    if len(text) > URL_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise AddressForbidden(f"a URL has no blanks, and at most {URL_CHARACTERS_MAX} characters")
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise AddressForbidden("this is no URL: say https://HOST/PATH") from None
    if url.scheme not in SCHEMES or not url.host or not port:
        raise AddressForbidden("a URL that can be asked begins with https:// or http:// and a host")
    if url.user is not None or url.password is not None:
        raise AddressForbidden("a URL with a name or password in it is not asked: use a header")
    return url.with_fragment(None)


def parse_proxy(text: str) -> URL:
    """Return the proxy's URL, which may have a name and password; raises SettingInvalid."""
    wrong = SettingInvalid("outbound_proxy is no URL of a proxy: say http://HOST:PORT")
    try:
        url = URL(text)
        fits = url.scheme in SCHEMES and url.host and url.port and url.path in ("", "/")
    except ValueError:
        raise wrong from None
    if not fits or url.query_string or url.fragment:
        raise wrong
    return url


def _shown(url: URL) -> str:
    return f"{url.scheme}://{url.host_subcomponent}:{url.port}"


def _forbidden(url: URL, why: str) -> AddressForbidden:
    return AddressForbidden(f"{_shown(url)} leads to an address that is not asked from here: {why}")
