"""Signing in with a password, and out; what one-time links lead to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.texts import TEXTS
from treescale.errors import CredentialsInvalid, PasswordInvalid, TooMany
from treescale.http.sessions.cookies import SESSION, Cookie
from treescale.metadata.identity.links import INVITATION, RESET
from treescale.metadata.identity.providers import Providers
from treescale.metadata.identity.sessions import TOTAL_SECONDS
from treescale.registry.people.accounts import People
from treescale.registry.people.sessions import SessionService
from treescale.registry.token_service import TokenService

ACCOUNT: Final = "/-/account"
SIGN_IN: Final = "/-/sign-in"
HOME: Final = "/"
NAME_SHOWN_MAX: Final = 64


def session_cookie(secret: str) -> Cookie:
    """Return what a browser keeps of a session; without a secret it is to forget it."""
    return Cookie(SESSION, secret, int(TOTAL_SECONDS))


@dataclass(frozen=True, slots=True)
class SignInPages:
    """What answers for signing in and out."""

    sessions: SessionService
    tokens: TokenService
    providers: Providers

    async def show(self, visit: Visit) -> Page:
        """Show the form; to who is signed in, too: it may be somebody else's turn."""
        return await self._page(visit)

    async def sign_in(self, visit: Visit) -> Page | Moved:
        """Begin a session: always a new one, whatever cookie came along."""
        name = visit.form.get("name", "").strip()
        try:
            principal = await visit.prove(name, visit.form.get("password", ""))
            secret = await self.sessions.begin(principal, address=visit.address, agent=visit.agent)
        except CredentialsInvalid as error:
            problem = str(error) if "access token, which" in str(error) else TEXTS["sign_in_failed"]
            return await self._page(visit, name=name, problem=problem, status=401)
        except TooMany as error:
            return await self._page(visit, name=name, problem=str(error), status=429)
        visit.note_login(principal)
        if visit.signed_in is not None:
            await self.sessions.end_if_there(visit.signed_in)
        return Moved(visit.next or HOME, (session_cookie(secret),))

    async def sign_out(self, visit: Visit) -> Moved:
        """End the session."""
        await self.sessions.end_if_there(visit.me)
        return Moved(f"{SIGN_IN}?done=signed_out", (session_cookie(""),))

    async def _page(
        self, visit: Visit, *, name: str = "", problem: str = "", status: int = 200
    ) -> Page:
        next_ = visit.next
        values = {
            "next": next_,
            "query": f"?next={quote(next_)}" if next_ else "",
            "name": name[:NAME_SHOWN_MAX],
            "problem": problem,
            "providers": [one.name for one in await self.providers.list()],
            "passwords_off": self.tokens.passwords_off(),
        }
        return Page("sign_in.html", values, status)


@dataclass(frozen=True, slots=True)
class LinkPages:
    """What answers for invitations and resets: looking uses nothing up, sending the form does."""

    people: People
    providers: Providers
    tokens: TokenService

    async def show_invitation(self, visit: Visit) -> Page:
        """Show what an invitation is for."""
        return await self._page(visit, INVITATION)

    async def show_reset(self, visit: Visit) -> Page:
        """Show what a reset is for."""
        return await self._page(visit, RESET)

    async def accept(self, visit: Visit) -> Page | Moved:
        """Make the account of an invitation."""
        return await self._set(visit, INVITATION)

    async def reset(self, visit: Visit) -> Page | Moved:
        """Set the password of the account."""
        return await self._set(visit, RESET)

    async def _set(self, visit: Visit, kind: str) -> Page | Moved:
        secret, new = visit.parameters["secret"], visit.form.get("new", "")
        if new != visit.form.get("again", ""):
            return await self._page(visit, kind, TEXTS["password_differs"])
        try:
            if kind == INVITATION:
                await self.people.accept(secret, new)
            else:
                await self.people.set_by_link(secret, new)
        except PasswordInvalid as error:
            return await self._page(visit, kind, str(error))
        return Moved(f"{SIGN_IN}?done=reset", (session_cookie(""),))

    async def _page(self, visit: Visit, kind: str, problem: str = "") -> Page:
        secret = visit.parameters["secret"]
        link = await self.people.look(kind, secret)
        values: Mapping[str, Any] = {
            "heading": TEXTS[f"{kind}_title"],
            "text": TEXTS[kind].format(user=link.user),
            "button": TEXTS[f"{kind}_button"],
            "by": TEXTS[f"{kind}_by"],
            "action": f"/-/{kind}/{secret}",
            "purpose": kind,
            "secret": secret,
            "link_user": link.user,
            "expires": link.expires,
            "takes_password": kind == RESET or link.admin or not self.tokens.passwords_off(),
            "problem": problem,
            "providers": [one.name for one in await self.providers.list()],
        }
        return Page("link.html", values, 400 if problem else 200)
