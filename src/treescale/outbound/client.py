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
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_exceptions import ClientConnectorCertificateError, ClientSSLError
from aiohttp.client_proto import ResponseHandler
from yarl import URL

import treescale
from treescale.errors import AddressForbidden, OutboundFailed, SettingInvalid
from treescale.outbound.answers import LIMITS, Answer, Limits
from treescale.outbound.names import Names, threads_for_names
from treescale.outbound.networks import Networks, is_public
from treescale.outbound.received import BoundedHandler
from treescale.outbound.urls import SCHEMES, check_url, forbidden, shown

CHUNK_BYTES: Final = 16 * 1024
HEAD_BYTES_MAX: Final = 8 * 1024
"""Of an answer's first line, and of each of its fields."""


@dataclass(slots=True)
class _Seen:
    """What was seen of the addresses that a URL leads to, and of the answer so far."""

    refused: str = ""
    """Why one of them is not asked."""
    are_public: bool = True
    head: aiohttp.ClientResponse | None = None
    """The answer's status and fields, once they are there."""
    body: bytearray = field(default_factory=bytearray)


class Outbound:
    """What all uses of a server share: whom TLS trusts, and the proxy."""

    def __init__(self, *, ca_file: str = "", proxy: str = "") -> None:
        """Trust the system's authorities, and those in `ca_file`; raises SettingInvalid."""
        self.tls = ssl.create_default_context()
        if ca_file:
            try:
                self.tls.load_verify_locations(ca_file)
            except (OSError, ssl.SSLError) as error:
                why = getattr(error, "strerror", None) or "no certificates in PEM"
                raise SettingInvalid(f"cannot use {ca_file} as outbound_ca: {why}") from None
        self._proxy = parse_proxy(proxy) if proxy else None
        self._names = Names(threads_for_names())

    def client(self, networks: Networks, limits: Limits = LIMITS) -> "OutboundClient":
        """Return a client for one use: what it may ask, and how long and large an answer is."""
        return OutboundClient(self.tls, self._proxy, networks, limits, self._names)


class OutboundClient:
    """Asks for one use."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        proxy: URL | None,
        networks: Networks,
        limits: Limits,
        names: Names,
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._names = names
        self._networks = networks
        self._limits = limits

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return its answer, of any status.

        Raises AddressForbidden when the URL, or all it leads to, may not be asked; OutboundFailed
        when no whole answer came within the limits. Where these have answers cut, what was read by
        then is the answer, once its head is there.
        """
        target = check_url(url, self._networks)
        seen = _Seen(are_public=self._proxy is None)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._ask(method, target, {**(headers or {})}, body, seen)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            if seen.head is not None and self._limits.cut:
                return self._answer(seen.head, seen)
            raise self._failed(target, seen, error) from None

    def _failed(
        self, target: URL, seen: _Seen, error: Exception
    ) -> OutboundFailed | AddressForbidden:
        """Return what is told of a request that brought no answer."""
        where = shown(target)
        if isinstance(error, TimeoutError):
            seconds = self._limits.seconds
            return OutboundFailed(f"{where} gave no whole answer within {seconds:g} s")
        if isinstance(error, ClientConnectorCertificateError | ClientSSLError):
            return OutboundFailed(f"{where} has no certificate for its name that is trusted here")
        if seen.refused:
            return forbidden(target, seen.refused, self._networks.setting)
        return OutboundFailed(f"{where} cannot be reached, or broke off")

    async def _ask(
        self, method: str, target: URL, headers: dict[str, str], body: bytes, seen: _Seen
    ) -> Answer:
        common = {
            "User-Agent": f"TreeScale/{treescale.__version__}",
            "Accept-Encoding": "identity",
        }
        async with (
            self._session(seen) as session,
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
            seen.head = response
            await self._read(target, response, seen.body)
            return self._answer(response, seen)

    def _answer(self, head: aiohttp.ClientResponse, seen: _Seen) -> Answer:
        body = bytes(seen.body[: self._limits.answer_bytes])
        return Answer(head.status, head.headers, body, seen.are_public)

    def _session(self, seen: _Seen) -> aiohttp.ClientSession:
        """Return what makes the one connection, and notes what is seen of addresses."""
        make = None if self._proxy else partial(self._socket, seen)
        connector = aiohttp.TCPConnector(
            force_close=True,
            use_dns_cache=False,
            resolver=self._names,
            socket_factory=make,
        )
        # There is no public way to have it; `test_client` has what this is for.
        loop, bytes_max = asyncio.get_running_loop(), self._limits.answer_bytes

        def handler() -> ResponseHandler:
            return BoundedHandler(loop, bytes_max)

        connector._factory = partial(handler)  # noqa: SLF001
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
        )

    def _socket(self, seen: _Seen, found: tuple[Any, ...]) -> socket.socket:
        """Return a socket for the very address that is connected to; raises OSError."""
        family, kind, protocol, _, place = found
        why = self._networks.refusal(str(place[0]), int(place[1]))
        if why:
            seen.refused = seen.refused or why
            raise OSError(why)
        seen.are_public &= is_public(str(place[0]))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003  it takes no keyword
        return made

    async def _read(self, target: URL, response: aiohttp.ClientResponse, body: bytearray) -> None:
        """Read the body, as far as the limit where answers are cut; raises OutboundFailed."""
        limit = self._limits.answer_bytes
        async for piece in response.content.iter_chunked(CHUNK_BYTES):
            body += piece
            if len(body) > limit and self._limits.cut:
                return
            if len(body) > limit:
                raise OutboundFailed(f"{shown(target)} answers with more than {limit} bytes")


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
