"""Every page there is, on this screen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.console.web.account import AccountPages
from treescale.console.web.content.table import content_pages
from treescale.console.web.page import PageRoute, Who
from treescale.console.web.sign_on import SignOnPages
from treescale.console.web.signing_in import LinkPages, SignInPages
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Providers
from treescale.registry.accounts import Accounts, PasswordHashing
from treescale.registry.people.accounts import People
from treescale.registry.people.openid import OpenId
from treescale.registry.people.sessions import SessionService
from treescale.registry.people.sign_on import SignOnService
from treescale.registry.token_service import TokenService

GET: Final = "GET"
POST: Final = "POST"
ANYBODY: Final = Who.ANYBODY
SIGNED_IN: Final = Who.SIGNED_IN


@dataclass(frozen=True, slots=True)
class PageParts:
    """What pages are made from, beside the management API."""

    database: Database
    passwords: PasswordHashing
    clock: Clock
    sessions: SessionService
    tokens: TokenService
    openid: OpenId


def page_routes(parts: PageParts) -> Sequence[PageRoute]:
    """Return them; the first that matches answers."""
    database, passwords, clock = parts.database, parts.passwords, parts.clock
    sessions, tokens = parts.sessions, parts.tokens
    accounts = Accounts(
        database.users,
        database.access_tokens,
        passwords,
        clock,
        organisations=database.organisations,
    )
    people = People(database, passwords, clock)
    providers = Providers(database.connections)
    sign_on = SignOnService(database, parts.openid, sessions, clock)
    return [
        *_of_signing_in(SignInPages(sessions, tokens, providers)),
        *_of_sign_on(SignOnPages(sign_on, sessions, people)),
        *_of_links(LinkPages(people, providers, tokens)),
        *_of_the_account(AccountPages(database, accounts, people, sessions, providers)),
        *content_pages(),
    ]


def _of_signing_in(pages: SignInPages) -> Iterable[PageRoute]:
    yield PageRoute(GET, "/-/sign-in", ANYBODY, pages.show)
    yield PageRoute(POST, "/-/sign-in", ANYBODY, pages.sign_in)
    yield PageRoute(POST, "/-/sign-out", SIGNED_IN, pages.sign_out)


def _of_sign_on(pages: SignOnPages) -> Iterable[PageRoute]:
    yield PageRoute(GET, "/-/sign-on/{provider}", ANYBODY, pages.begin)
    yield PageRoute(GET, "/-/sign-on/{provider}/callback", ANYBODY, pages.finish)


def _of_links(pages: LinkPages) -> Iterable[PageRoute]:
    invitation, reset = "/-/invitation/{secret}", "/-/reset/{secret}"
    yield PageRoute(GET, invitation, ANYBODY, pages.show_invitation, is_secret=True)
    yield PageRoute(POST, invitation, ANYBODY, pages.accept, is_secret=True)
    yield PageRoute(GET, reset, ANYBODY, pages.show_reset, is_secret=True)
    yield PageRoute(POST, reset, ANYBODY, pages.reset, is_secret=True)


def _of_the_account(pages: AccountPages) -> Iterable[PageRoute]:
    base = "/-/account"
    yield PageRoute(GET, base, SIGNED_IN, pages.show)
    yield PageRoute(POST, f"{base}/prove", SIGNED_IN, pages.prove)
    yield PageRoute(POST, f"{base}/tokens", SIGNED_IN, pages.make_token)
    yield PageRoute(POST, f"{base}/tokens/{{token}}/revoke", SIGNED_IN, pages.revoke_token)
    yield PageRoute(POST, f"{base}/sessions/end", SIGNED_IN, pages.end_others)
    yield PageRoute(POST, f"{base}/sessions/{{session}}/end", SIGNED_IN, pages.end_session)
    yield PageRoute(POST, f"{base}/password", SIGNED_IN, pages.change_password)
    yield PageRoute(POST, f"{base}/identities/{{identity}}/unlink", SIGNED_IN, pages.unlink)
