"""One's own account: who I am, access tokens, sessions, password, identities."""

from dataclasses import dataclass
from typing import Final

from treescale.console.accounts.tokens import LATEST, TokenMade
from treescale.console.problems import status_of
from treescale.console.web.commands import Host, login_commands
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.signing_in import ACCOUNT, SIGN_IN, session_cookie
from treescale.console.web.texts import TEXTS
from treescale.errors import (
    CredentialsInvalid,
    Forbidden,
    PasswordInvalid,
    RequestInvalid,
    TokenUnknown,
    TooMany,
    UserExists,
)
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Identities, Providers
from treescale.registry.accounts import Accounts
from treescale.registry.organisations import memberships_of
from treescale.registry.people.accounts import People
from treescale.registry.people.sessions import SessionService, derived

LINK: Final = "link"
"""For which the link that binds a provider is made of the session's secret."""


@dataclass(frozen=True, slots=True)
class AccountPages:
    """What answers for whoever is signed in."""

    database: Database
    accounts: Accounts
    people: People
    sessions: SessionService
    providers: Providers

    async def show(self, visit: Visit) -> Page:
        """Show all of it."""
        return await self._page(visit)

    async def prove(self, visit: Visit) -> Page | Moved:
        """Take the password once more, before what is for who has just proven it."""
        try:
            await visit.prove(visit.me.user, visit.form.get("password", ""))
        except CredentialsInvalid:
            return await self._page(visit, problem=TEXTS["sign_in_failed"], status=403)
        except TooMany as error:
            return await self._page(visit, problem=str(error), status=429)
        await self.sessions.prove(visit.me)
        return Moved(visit.next or f"{ACCOUNT}?done=proven")

    async def make_token(self, visit: Visit) -> Page:
        """Make an access token, and show it this once."""
        if not visit.me.is_fresh:
            return await self._page(visit, problem=TEXTS["prove"], status=403)
        form = visit.form
        body = {
            "name": form.get("name", ""),
            "allow": form.get("allow", "").split(","),
            "repository": form.get("repository", "").strip() or "*",
            "expires": form.get("expires", ""),
        }
        try:
            made: TokenMade = await visit.api("POST", "/tokens", body=body)
        except (RequestInvalid, UserExists) as error:
            return await self._page(visit, problem=str(error), status=status_of(error))
        logins = login_commands(Host.of(visit.place.origin), visit.me.user)
        for_registry = not {"api", "events", "metrics"} & {*made.token.allow}
        values = {"secret": made.secret, "logins": logins, "for_registry": for_registry}
        return Page("token_made.html", values)

    async def revoke_token(self, visit: Visit) -> Moved:
        """Revoke one of one's own."""
        user, wanted = visit.me.user, visit.parameters["token"]
        if wanted not in [one.token_id for one in await self.accounts.list_tokens(user)]:
            raise TokenUnknown("no access token of yours: it is revoked already, perhaps")
        await self.accounts.revoke_token(wanted, actor=user)
        return Moved(f"{ACCOUNT}?done=revoked")

    async def end_session(self, visit: Visit) -> Moved:
        """End another session of one's own."""
        await self.sessions.end(visit.me.user, visit.parameters["session"])
        return Moved(f"{ACCOUNT}?done=ended")

    async def end_others(self, visit: Visit) -> Moved:
        """End all of one's sessions but this."""
        await self.sessions.end_others(visit.me.user, visit.me.session.session_id)
        return Moved(f"{ACCOUNT}?done=ended")

    async def change_password(self, visit: Visit) -> Page | Moved:
        """Change the password, for who knows the one of now; all sessions end."""
        form, user = visit.form, visit.me.user
        if form.get("new", "") != form.get("again", ""):
            return await self._page(visit, problem=TEXTS["password_differs"], status=400)
        try:
            proven = await visit.prove(user, form.get("old", ""))
            await self.people.change_password(proven, form.get("new", ""))
        except CredentialsInvalid:
            return await self._page(visit, problem=TEXTS["sign_in_failed"], status=403)
        except TooMany as error:
            return await self._page(visit, problem=str(error), status=429)
        except PasswordInvalid as error:
            return await self._page(visit, problem=str(error), status=400)
        return Moved(f"{SIGN_IN}?done=password", (session_cookie(""),))

    async def unlink(self, visit: Visit) -> Moved:
        """Have a provider's login lead here no more."""
        if not visit.me.is_fresh:
            raise Forbidden(TEXTS["prove"])
        identities, user = Identities(self.database.connections), visit.me.user
        await identities.unlink(user, visit.parameters["identity"], actor=user)
        return Moved(f"{ACCOUNT}?done=unlinked")

    async def _page(self, visit: Visit, *, problem: str = "", status: int = 200) -> Page:
        me = visit.me
        held = await memberships_of(self.database, me.user)
        providers = [one.name for one in await self.providers.list()]
        identities = await Identities(self.database.connections).list(me.user)
        roles = [
            {"namespace": name, "role": grant.role.value, "repository": grant.repository}
            for name, one in sorted(held.items())
            for grant in one.grants
        ]
        tokens = [
            {
                "token_id": one.token_id,
                "label": one.label,
                "allow": ", ".join(sorted(one.allow)),
                "repository": one.repository,
                "created": one.created,
                "expires": None if one.expires is None else min(one.expires, LATEST),
                "last_used": one.last_used,
            }
            for one in await self.accounts.list_tokens(me.user)
        ]
        values = {
            "is_administrator": me.session.is_administrator,
            "is_fresh": me.is_fresh,
            "has_password": me.session.has_password,
            "roles": roles,
            "tokens": tokens,
            "sessions": await self.sessions.list(me.user),
            "session_id": me.session.session_id,
            "identities": [
                {
                    "identity_id": one.identity_id,
                    "provider": one.provider,
                    "email": one.email,
                    "created": one.created,
                    "seen": one.seen,
                    "is_there": one.provider in providers,
                }
                for one in identities
            ],
            "providers": providers,
            "link_token": derived(me.secret, LINK),
            "problem": problem,
            "next": visit.next,
        }
        return Page("account.html", values, status)
