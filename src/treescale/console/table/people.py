"""The rows of people: their own account, what administrators do to it, and sign-on."""

from collections.abc import Iterable

from treescale.clock import Clock
from treescale.console.accounts.account import (
    Account,
    AccountDesk,
    ChangedPassword,
    SessionList,
    SessionsEnded,
)
from treescale.console.accounts.people import (
    AdminFlag,
    InvitationPage,
    LinkMade,
    LinkRemoved,
    NewInvitation,
    PeopleDesk,
    Suspension,
)
from treescale.console.accounts.sign_on import NewProvider, ProviderList, ProviderRow, SignOnDesk
from treescale.console.accounts.users import UserRow
from treescale.console.route import DELETE, GET, PAGE, POST, PUT, ApiRoute, Who
from treescale.metadata.database import Database
from treescale.registry.accounts import PasswordHashing


def people_rows(
    database: Database, passwords: PasswordHashing, clock: Clock, public_url: str
) -> Iterable[ApiRoute]:
    """Yield them; before those of `/users/{user}`, whose parameter takes slashes."""
    yield from _of_the_account(AccountDesk(database, passwords, clock))
    yield from _of_people(PeopleDesk(database, passwords, clock, public_url))
    yield from _of_sign_on(SignOnDesk(database, clock, public_url))


def _of_the_account(desk: AccountDesk) -> Iterable[ApiRoute]:
    who = Who.USER
    what, path = "End a session of one's own", "/account/sessions/{session}"
    yield ApiRoute(DELETE, path, who, what, desk.end_session, SessionsEnded)
    what, path = "Where the caller is signed in", "/account/sessions"
    yield ApiRoute(GET, path, who, what, desk.sessions, SessionList)
    what = "End all of one's sessions"
    yield ApiRoute(DELETE, path, who, what, desk.end_sessions, SessionsEnded)
    what = "Have a provider's login lead to one's account no more"
    yield ApiRoute(DELETE, "/account/identities/{identity}", who, what, desk.unlink, Account)
    what = "Who the caller is, with roles and identities"
    yield ApiRoute(GET, "/account", who, what, desk.show, Account)
    what = "Change one's own password, for who knows the one of now; all sessions end"
    path, takes = "/account/password", ChangedPassword
    yield ApiRoute(PUT, path, who, what, desk.change_password, Account, takes=takes)


def _of_people(desk: PeopleDesk) -> Iterable[ApiRoute]:
    who, one = Who.ADMINISTRATOR, "/users/{user}"
    what, path = "Have nothing of an account count, or end that", f"{one}/suspended"
    yield ApiRoute(PUT, path, who, what, desk.suspend, UserRow, takes=Suspension)
    what, path = "Make somebody an administrator, or not", f"{one}/admin"
    yield ApiRoute(PUT, path, who, what, desk.set_admin, UserRow, takes=AdminFlag)
    what = "Have no password log in to an account"
    yield ApiRoute(DELETE, f"{one}/password", who, what, desk.remove_password, UserRow)
    what = "End all sessions of an account"
    yield ApiRoute(DELETE, f"{one}/sessions", who, what, desk.end_sessions, SessionsEnded)
    what = "Make a link with which the user sets another password, once"
    yield ApiRoute(POST, f"{one}/reset", who, what, desk.reset, LinkMade)
    what = "Invitations that nobody has accepted yet"
    yield ApiRoute(GET, "/invitations", who, what, desk.invitations, InvitationPage, query=PAGE)
    what, takes = "Make a link with which somebody makes an account, once", NewInvitation
    yield ApiRoute(POST, "/invitations", who, what, desk.invite, LinkMade, takes=takes)
    what, path = "Have an invitation lead nowhere", "/invitations/{invitation}"
    yield ApiRoute(DELETE, path, who, what, desk.withdraw, LinkRemoved)


def _of_sign_on(desk: SignOnDesk) -> Iterable[ApiRoute]:
    who, one, row = Who.ADMINISTRATOR, "/sign-on/{provider}", ProviderRow
    what = "The providers that people sign on with"
    yield ApiRoute(GET, "/sign-on", who, what, desk.list, ProviderList)
    what = "Add a provider"
    yield ApiRoute(POST, "/sign-on", who, what, desk.add, row, takes=NewProvider)
    yield ApiRoute(GET, one, who, "One provider", desk.show, row)
    what = "Remove a provider; the sessions that it vouched for end"
    yield ApiRoute(DELETE, one, who, what, desk.remove, row)
