"""Sessions of browsers: begun by a password or a provider, known by a secret in a cookie.

What a form has to bring beside the cookie (against requests that other sites have a browser send)
is made of the secret, so nothing is kept for it, and who lacks the secret cannot make it.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from treescale.auth.access_tokens import secret_sha256
from treescale.auth.policy import Principal
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, SessionUnknown, StoreFull
from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.identity.sessions import Session, Sessions

SECRET_BYTES: Final = 32
SECRET_CHARACTERS: Final = 43
ID_BYTES: Final = 6
FRESH_SECONDS: Final = 600.0
"""For so long after a password, or a sign-on, secrets may be made without another one."""
AGENT_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose a request with a session's cookie is."""

    session: Session
    secret: str
    is_fresh: bool
    """Whether it was proven a moment ago who this is."""

    @property
    def user(self) -> str:
        """Return the user's name."""
        return self.session.user

    @property
    def principal(self) -> Principal:
        """Return the user, with all that a password opens."""
        session = self.session
        return Principal(session.user, proven=session.proven, generation=session.generation)

    @property
    def form_token(self) -> str:
        """Return what each form of this session brings."""
        return derived(self.secret, "form")

    def is_form_token(self, text: str) -> bool:
        """Return whether a form is of this session."""
        return hmac.compare_digest(self.form_token.encode(), text.encode("utf-8", "replace"))


class SessionService:
    """Begins and finds sessions."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._sessions = Sessions(database.connections)
        self._clock = clock
        self._random = random

    def draft(
        self, user: str, *, provider: str = "", address: str = "", agent: str = ""
    ) -> tuple[str, Session]:
        """Return a new session's secret, and the session, which is not kept yet."""
        secret, now = encoded(self._random(SECRET_BYTES)), self._clock.now()
        readable = "".join(one for one in agent if one.isprintable())
        session = Session(
            session_id=self._random(ID_BYTES).hex(),
            secret_sha256=secret_sha256(secret),
            user=user,
            provider=provider,
            address=address,
            agent=readable[:AGENT_CHARACTERS_MAX],
            created=now,
            proven=now,
            seen=now,
        )
        return secret, session

    async def begin(self, principal: Principal, *, address: str = "", agent: str = "") -> str:
        """Begin one for who has just proven a password; return its secret.

        Raises CredentialsInvalid when the account has changed since.
        """
        secret, session = self.draft(principal.user, address=address, agent=agent)
        await self._sessions.add(session, generation=principal.generation or 0)
        return secret

    async def find(self, secret: str) -> SignedIn | None:
        """Return whose secret this is; None when the session has ended, or never was."""
        if len(secret) != SECRET_CHARACTERS or not secret.isascii():
            return None
        now = self._clock.now()
        session = await self._sessions.find(secret_sha256(secret), now=now)
        if session is None:
            return None
        try:
            await self._sessions.touch(session, now=now)
        except (StoreFull, DatabaseUnavailable) as error:  # what is only read must go on
            get_logger().warning("session.use_not_recorded", error=str(error))
        return SignedIn(session, secret, now - session.proven < FRESH_SECONDS)

    async def prove(self, signed_in: SignedIn) -> None:
        """Note that it was proven just now who this is."""
        await self._sessions.prove(signed_in.session, now=self._clock.now())

    async def list(self, user: str) -> list[Session]:
        """Return a user's sessions, the newest first."""
        return [*await self._sessions.list(user, now=self._clock.now())]

    async def end(self, user: str, session_id: str) -> None:
        """End one of a user's sessions; raises SessionUnknown."""
        await self._sessions.end(user, session_id)

    async def end_if_there(self, signed_in: SignedIn) -> None:
        """End a session, which may have ended already."""
        with suppress(SessionUnknown):
            await self.end(signed_in.user, signed_in.session.session_id)

    async def end_others(self, user: str, but: str = "") -> int:
        """End all of one's own sessions but one; return how many."""
        return await self._sessions.end_others(user, but, actor=user)

    async def prune(self) -> None:
        """Forget those that have ended by themselves."""
        await self._sessions.prune(now=self._clock.now())


def derived(secret: str, purpose: str) -> str:
    """Return what only who knows the secret can make, for one purpose."""
    return encoded(hashlib.sha256(f"{purpose}:{secret}".encode()).digest())


def encoded(data: bytes) -> str:
    """Return bytes as text for cookies and URLs."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
