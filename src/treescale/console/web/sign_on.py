"""Going to a provider of sign-on, and coming back."""

import hmac
from dataclasses import dataclass
from typing import Final

from treescale.auth.policy import Principal
from treescale.console.problems import status_of
from treescale.console.web.account import LINK
from treescale.console.web.page import Moved, Page, Visit, local_path
from treescale.console.web.signing_in import ACCOUNT, HOME, session_cookie
from treescale.console.web.texts import TEXTS
from treescale.errors import Forbidden, IdTokenInvalid, IssuerAway, Refused, SignOnRefused
from treescale.http.sessions.cookies import SIGN_ON, Cookie
from treescale.log import get_logger
from treescale.metadata.identity.links import INVITATION, RESET
from treescale.registry.people.accounts import People
from treescale.registry.people.openid import PENDING_SECONDS
from treescale.registry.people.sessions import SessionService, derived
from treescale.registry.people.sign_on import SignOnService, Wanted

_GONE: Final = Cookie(SIGN_ON, "")


@dataclass(frozen=True, slots=True)
class SignOnPages:
    """What answers between a browser and a provider."""

    sign_on: SignOnService
    sessions: SessionService
    people: People

    async def begin(self, visit: Visit) -> Page | Moved:
        """Send the browser to the provider."""
        name = visit.parameters["provider"]
        wanted = await self._wanted(visit)
        try:
            url, cookie = await self.sign_on.begin(name, visit.place.origin, wanted)
        except IssuerAway as error:
            return _away(name, error)
        return Moved(url, (Cookie(SIGN_ON, cookie, int(PENDING_SECONDS)),))

    async def finish(self, visit: Visit) -> Page | Moved:
        """Take the provider's answer: whatever it is, the sign-on is over.

        What the browser brings back of it may be made up: that a session links, and where it goes
        on, is looked at once more.
        """
        signed_in = visit.signed_in
        session = signed_in.session if signed_in is not None and signed_in.is_fresh else None
        try:
            finished = await self.sign_on.finish(
                visit.parameters["provider"],
                visit.place.origin,
                visit.query,
                visit.cookie(SIGN_ON),
                me=("", "") if session is None else (session.user, session.session_id),
                address=visit.address,
                agent=visit.agent,
            )
        except IssuerAway as error:
            return _away(visit.parameters["provider"], error)
        except Refused as error:
            if isinstance(error, SignOnRefused | IdTokenInvalid):
                visit.note_refusal()
            values = {"heading": TEXTS["sign_on_failed"], "text": str(error)}
            return Page("message.html", values, status_of(error), (_GONE,))
        visit.note_login(Principal(finished.user))
        if visit.signed_in is not None:
            await self.sessions.end_if_there(visit.signed_in)
        to = f"{ACCOUNT}?done=linked" if finished.linked else local_path(finished.next) or HOME
        return Moved(to, (session_cookie(finished.secret), _GONE))

    async def _wanted(self, visit: Visit) -> Wanted:
        query = visit.query
        if INVITATION in query:
            await self.people.look(INVITATION, query[INVITATION])
            return Wanted(invitation=query[INVITATION])
        if RESET in query:
            await self.people.look(RESET, query[RESET])
            return Wanted(reset=query[RESET])
        if LINK in query:
            return Wanted(session=self._to_link(visit))
        return Wanted(next=visit.next)

    @staticmethod
    def _to_link(visit: Visit) -> str:
        """Return the id of the session that asked for it by its own page; raises Forbidden."""
        me, given = visit.signed_in, visit.query[LINK].encode("utf-8", "replace")
        if me is None or not hmac.compare_digest(given, derived(me.secret, LINK).encode()):
            raise Forbidden(TEXTS["form_stale"])
        if not me.is_fresh:
            raise Forbidden(TEXTS["prove"])
        return me.session.session_id


def _away(name: str, error: IssuerAway) -> Page:
    """Return what is shown while a provider cannot be used; why is for the operator, in the log."""
    get_logger().warning("sign_on.away", provider=name, error=str(error))
    text = TEXTS["sign_on_away"].format(provider=name)
    values = {"heading": TEXTS["sign_on_failed"], "text": text}
    return Page("message.html", values, status_of(error), (_GONE,))
