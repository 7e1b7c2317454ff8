"""Sign-on by a provider, from the browser that begins it to its session."""

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from treescale.auth.access_tokens import secret_sha256
from treescale.clock import Clock
from treescale.errors import LastAdministrator, SignOnRefused, TooMany
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Identity, Provider, Providers
from treescale.metadata.identity.sign_on import SignedOn, SignOns
from treescale.metadata.identity.terms import AUTO
from treescale.registry.people.claims import judge
from treescale.registry.people.openid import (
    PENDING_SECONDS,
    OpenId,
    Pending,
    read_pending,
    state_of,
)
from treescale.registry.people.sessions import ID_BYTES, SECRET_BYTES, SessionService, encoded

AT_ONCE_MAX: Final = 16
"""Sign-ons of a worker that wait for providers: whoever made up a code holds up nobody else."""
RULE: Final = "rule:sign-on:"
_PROVE: Final = (
    "this browser has another session, or one of a while ago: prove it once more at /-/account, "
    "and link the provider there"
)
_STALE: Final = "this sign-on was begun in another browser, or too long ago: begin it anew"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sign-on is for: by itself, to come in."""

    next: str = ""
    session: str = ""
    """The id of the session whose account is to be bound to it."""
    invitation: str = ""
    reset: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A sign-on that came back well."""

    user: str
    secret: str
    """Of the new session."""
    next: str
    linked: bool


class SignOnService:
    """Begins and finishes sign-ons."""

    def __init__(
        self,
        database: Database,
        openid: OpenId,
        sessions: SessionService,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._providers = Providers(database.connections)
        self._sign_ons = SignOns(database.connections)
        self._openid = openid
        self._sessions = sessions
        self._clock = clock
        self._random = random
        self._waiting = 0

    async def providers(self) -> Sequence[Provider]:
        """Return all providers, by name."""
        return await self._providers.list()

    async def begin(self, name: str, origin: str, wanted: Wanted) -> tuple[str, str]:
        """Return where the browser goes to, and the cookie that it keeps until it comes back.

        Raises ProviderUnknown, IssuerAway.
        """
        provider = await self._providers.get(name)
        pending = Pending(
            secret=encoded(self._random(SECRET_BYTES)),
            provider=name,
            expires=self._clock.now() + PENDING_SECONDS,
            next=wanted.next,
            session=wanted.session,
            invitation=wanted.invitation,
            reset=wanted.reset,
        )
        url = await self._openid.address(provider, pending, redirect_uri(origin, name))
        return url, pending.cookie()

    async def finish(
        self,
        name: str,
        origin: str,
        query: Mapping[str, str],
        cookie: str,
        *,
        me: tuple[str, str] = ("", ""),
        address: str = "",
        agent: str = "",
    ) -> Finished:
        """Begin the session of who comes back from a provider.

        `me` is the user and the id of its session, if it was proven a moment ago. Raises
        SignOnRefused, IdTokenInvalid, IssuerAway, LinkUnknown, ProviderUnknown, TooMany.
        """
        pending = self._pending(name, query, cookie)
        user, session_id = me
        if pending.session and pending.session != session_id:
            raise SignOnRefused(_PROVE)
        provider = await self._providers.get(name)
        if self._waiting >= AT_ONCE_MAX:
            raise TooMany("too many sign on at this moment: try again", retry_seconds=2)
        self._waiting += 1
        try:
            token, claims = await self._openid.claims(
                provider, pending, redirect_uri(origin, name), query, self._clock.now()
            )
        finally:
            self._waiting -= 1
        judged = judge(provider.terms, claims)
        now = self._clock.now()
        secret, session = self._sessions.draft("", provider=name, address=address, agent=agent)
        identity = Identity(
            identity_id=self._random(ID_BYTES).hex(),
            issuer=token.issuer,
            subject=token.subject,
            user=judged.name,
            provider=name,
            email=judged.email,
            created=now,
            seen=now,
        )
        signed_on = SignedOn(
            identity=identity,
            state=state_of(cookie),
            state_expires=pending.expires,
            allowed=judged.allowed,
            roles=judged.roles,
            create=provider.terms.create == AUTO,
            actor=f"{RULE}{name}",
            link_to=user if pending.session else "",
            invitation=secret_sha256(pending.invitation) if pending.invitation else "",
            reset=secret_sha256(pending.reset) if pending.reset else "",
        )
        try:
            found = await self._sign_ons.finish(signed_on, session)
        except LastAdministrator:
            raise SignOnRefused("the provider lets this account in no more") from None
        return Finished(found, secret, pending.next, linked=bool(pending.session))

    def _pending(self, name: str, query: Mapping[str, str], cookie: str) -> Pending:
        """Return the sign-on that this answer is to; raises SignOnRefused."""
        said = query.get("state", "").encode("utf-8", "replace")
        if not cookie or not hmac.compare_digest(said, state_of(cookie).encode()):
            raise SignOnRefused(_STALE)
        pending = read_pending(cookie)
        if pending.provider != name or pending.expires <= self._clock.now():
            raise SignOnRefused(_STALE)
        return pending


def redirect_uri(origin: str, name: str) -> str:
    """Return where a provider sends browsers back to: one for each provider (RFC 9700, 4.4)."""
    return f"{origin}/-/sign-on/{quote(name, safe='')}/callback"
