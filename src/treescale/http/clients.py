"""Where a request came from, and under which address its client knows us.

Decided in `origin`; here are the request, the settings, and the one warning that a proxy may be
missing from them.
"""

import functools
from collections.abc import Callable
from typing import Final

from aiohttp import web

from treescale.http.proxy.origin import (
    LOCAL_SOCKET,
    Address,
    Forwarding,
    Proxies,
    forwarded_by_nobody,
    origin,
    plain_address,
)
from treescale.http.request_record import RequestRecord, record_of
from treescale.log import get_logger

REMEMBERED_PEERS_MAX: Final = 4096
_NOTHING: Final = Forwarding()


class Clients:
    """Tells clients apart, whatever proxies they come through."""

    def __init__(
        self,
        proxies: Proxies | None = None,
        *,
        public_url: str = "",
        say_once: Callable[[], bool] = lambda: True,
    ) -> None:
        """`say_once` returns True to one who asks, and to nobody afterwards."""
        self._proxies = proxies or Proxies()
        self._public_url = public_url
        self._say_once = say_once
        self._warned = self._contradicted = False
        self._log = get_logger()
        # A proxy has few addresses; strangers have many, and fall out again.
        self._trusts = functools.lru_cache(REMEMBERED_PEERS_MAX)(self._is_trusted)

    def address(self, request: web.BaseRequest) -> str:
        """Return the address of the client, in its one form; of whoever is known to be nearest."""
        peer = request.remote
        client = self._forwarding(request, peer).client
        return str(client) if client is not None else peer_text(peer)

    def origin(self, request: web.BaseRequest) -> str:
        """Return scheme and host as the client knows us: a valid URL without a path.

        Where that is asked for, a proxy that nobody named does harm: so it is told of here.
        """
        peer = request.remote
        if not (self._warned or self._proxies or peer is None):
            self._warn(request, peer)
        if self._public_url:
            return self._public_url
        name = request.transport.get_extra_info("sockname") if request.transport else None
        return origin(
            self._forwarding(request, peer),
            secure=request.secure,
            host=request.headers.get("Host"),
            own=(name[0], name[1]) if isinstance(name, tuple) else None,
        )

    def is_proxy(self, peer: str) -> bool:
        """Say whether the text of a peer's address is a trusted proxy's."""
        return self._trusts(peer)

    def _forwarding(self, request: web.BaseRequest, peer: str | None) -> Forwarding:
        """Return what trusted proxies say of a request that came from `peer`."""
        if peer is None or not self._trusts(peer):
            return _NOTHING
        record = record_of(request)
        if record.forwarding is None:
            record.forwarding = self._read(request, peer, record)
        return record.forwarding

    def _read(self, request: web.BaseRequest, peer: str, record: RequestRecord) -> Forwarding:
        if record.nameless:
            return _NOTHING
        said = self._proxies.forwarding(plain_address(peer), request.headers)
        if said.contradicts and not self._contradicted:
            self._contradicted = True
            self._log.warning("proxy.contradicts", proxy=peer_text(peer), advice=_REMOVE)
        return said

    def _is_trusted(self, peer: str) -> bool:
        """Say whether its word counts; whoever comes through a Unix socket has no address."""
        if not peer:
            return True
        address = plain_address(peer)
        return address is not None and self._proxies.trusts(address)

    def _warn(self, request: web.BaseRequest, peer: str) -> None:
        """Say, once in the life of a server, that a proxy seems to be there and is not named."""
        address = plain_address(peer)
        if address is None or not forwarded_by_nobody(address, request.headers):
            return
        self._warned = True
        if self._say_once():
            self._log.warning("proxy.untrusted", proxy=str(address), advice=_advice(address))


_REMOVE: Final = (
    "it sends X-Forwarded-For and Forwarded, and they name different clients: have it set both, or "
    "remove the one that it does not set, for whatever it passes on was written by the client"
)


def _advice(peer: Address) -> str:
    return (
        f"requests from {peer} carry the headers of a proxy, which count for nothing: clients are "
        "sent to the wrong address for a token, and all count as one when logins fail. If that is "
        f'your proxy, set trusted_proxies = ["{peer}"] (--trusted-proxies {peer}, '
        f"TREESCALE_TRUSTED_PROXIES={peer}), or its network"
    )


def peer_text(peer: str | None) -> str:
    """Return the address of a connection's other end in its one form."""
    if not peer:
        return LOCAL_SOCKET
    if ":" not in peer:
        return peer
    address = plain_address(peer)
    return peer if address is None else str(address)
