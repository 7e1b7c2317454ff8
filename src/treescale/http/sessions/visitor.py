"""Where a browser's request came from, by its own word and by what browsers add to it.

A browser names the site whose page sends a request (`Origin`, `Sec-Fetch-Site`); a page cannot
change that. So a request that changes something is believed only when it names this very origin.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from treescale.errors import CredentialsInvalid, Forbidden
from treescale.http.clients import Clients
from treescale.http.sessions.cookies import SESSION, read_cookie
from treescale.registry.people.sessions import SessionService, SignedIn

FORM_HEADER: Final = "X-CSRF-Token"
_LOCALHOST: Final = "localhost"
_SAME: Final = "same-origin"


@dataclass(frozen=True, slots=True)
class Place:
    """Under which origin a request came in, and whether cookies may be set there."""

    origin: str
    is_secure: bool
    is_local: bool
    """Whether it came from this machine to itself."""

    @property
    def may_have_session(self) -> bool:
        """Return whether nobody can read along."""
        return self.is_secure or self.is_local


class Visitors:
    """Tells who a browser's request is of."""

    def __init__(self, sessions: SessionService, clients: Clients) -> None:
        self.sessions = sessions
        self._clients = clients

    def place(self, request: web.BaseRequest) -> Place:
        """Return where the request came in."""
        origin = self._clients.origin(request)
        is_secure = origin.startswith("https://")
        is_local = _is_loopback(self._clients.address(request)) and _is_loopback(_host(origin))
        return Place(origin, is_secure, is_local)

    def address(self, request: web.BaseRequest) -> str:
        """Return the address it came from."""
        return self._clients.address(request)

    def cookie(self, request: web.BaseRequest, name: str) -> str:
        """Return the value of a cookie of ours, "" without it."""
        lines = request.headers.getall("Cookie", [])
        return read_cookie(lines, name, secure=self.place(request).is_secure)

    async def find(self, request: web.BaseRequest) -> SignedIn | None:
        """Return whose session it has; None without one, and where none may be."""
        if not self.place(request).may_have_session:
            return None
        secret = self.cookie(request, SESSION)
        return await self.sessions.find(secret) if secret else None

    async def of_api(self, request: web.BaseRequest) -> SignedIn | None:
        """Return whose session it has, for a request that no form can send.

        None without a cookie; raises CredentialsInvalid when the session has ended, Forbidden for a
        request without the header.
        """
        if not self.cookie(request, SESSION):
            return None
        signed_in = await self.find(request)
        if signed_in is None:
            raise CredentialsInvalid("the session has ended: sign in again")
        if not signed_in.is_form_token(request.headers.get(FORM_HEADER, "")):
            raise Forbidden(f"a request with a session's cookie needs the header {FORM_HEADER}")
        self.check_origin(request, needed=False)
        return signed_in

    def check_origin(self, request: web.BaseRequest, *, needed: bool = True) -> None:
        """Raise Forbidden for what a page of another site sends, or that says of none.

        Without `needed` it may leave that out.
        """
        ours, origin = self.place(request).origin, request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site")
        if origin is not None:
            is_ours = origin.lower() == ours.lower()
        elif site is not None:
            is_ours = site == _SAME
        else:
            is_ours = not needed
        if not is_ours:
            raise Forbidden(
                f"this request did not come from a page of {ours}: open {ours} and try again there"
            )


def _host(origin: str) -> str:
    host = origin.partition("://")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == _LOCALHOST:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
