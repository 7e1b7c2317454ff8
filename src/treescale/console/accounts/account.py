"""`/account`: who the caller is, where they are signed in, and how they come in."""

from datetime import UTC, datetime

import msgspec

from treescale.clock import Clock
from treescale.console.route import Answered, Asked, check_fresh
from treescale.errors import Unsupported
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Identities, Identity
from treescale.metadata.identity.sessions import Session, Sessions
from treescale.registry.accounts import PasswordHashing
from treescale.registry.people.accounts import People


class HeldRole(msgspec.Struct):
    """A role of the caller."""

    namespace: str
    role: str
    repository: str


class IdentityRow(msgspec.Struct):
    """What a provider calls the caller; times are of UTC."""

    id: str
    provider: str
    issuer: str
    subject: str
    email: str
    created: datetime
    seen: datetime


class Account(msgspec.Struct):
    """Who the caller is."""

    name: str
    admin: bool
    password: bool
    """Whether there is a password to log in with."""
    created: datetime
    roles: list[HeldRole]
    identities: list[IdentityRow]
    token: str | None
    """The id of the access token that the caller showed; null for a password or a browser."""


class ChangedPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The password of now, and the one from now on."""

    old: str
    new: str


class SessionRow(msgspec.Struct):
    """A session of a browser; `provider` is empty for a password."""

    id: str
    provider: str
    address: str
    agent: str
    created: datetime
    seen: datetime


class SessionList(msgspec.Struct):
    """Where the caller is signed in, the newest first."""

    sessions: list[SessionRow]


class SessionsEnded(msgspec.Struct):
    """How many sessions have ended by this."""

    ended: int


class AccountDesk:
    """What answers for the caller's own account."""

    def __init__(self, database: Database, passwords: PasswordHashing, clock: Clock) -> None:
        self._database = database
        self._people = People(database, passwords, clock)
        self._sessions = Sessions(database.connections)
        self._identities = Identities(database.connections)
        self._clock = clock

    async def show(self, asked: Asked) -> Answered:
        """Show it."""
        user = await self._database.users.get(asked.principal.user)
        roles = [
            HeldRole(name, grant.role.value, grant.repository)
            for name, held in sorted(asked.held.items())
            for grant in held.grants
        ]
        found = await self._identities.list(user.name)
        identities = [_identity(one) for one in found]
        created = _time(user.created)
        token = asked.principal.token_id or None
        shown = Account(user.name, user.admin, user.has_password, created, roles, identities, token)
        return Answered(shown)

    async def change_password(self, asked: Asked) -> Answered:
        """Change the password, for who knows the one of now; all sessions end."""
        check_fresh(asked)
        if asked.prove is None:
            raise Unsupported("whoever works on the database has no password: use `user password`")
        wanted: ChangedPassword = asked.body
        proven = await asked.prove(asked.principal.user, wanted.old)
        await self._people.change_password(proven, wanted.new)
        return await self.show(asked)

    async def sessions(self, asked: Asked) -> Answered:
        """List the sessions."""
        found = await self._sessions.list(asked.principal.user, now=self._clock.now())
        return Answered(SessionList([_session(one) for one in found]))

    async def end_session(self, asked: Asked) -> Answered:
        """End one."""
        await self._sessions.end(asked.principal.user, asked.parameters["session"])
        return Answered(SessionsEnded(1))

    async def end_sessions(self, asked: Asked) -> Answered:
        """End all."""
        user = asked.principal.user
        return Answered(SessionsEnded(await self._sessions.end_others(user, actor=user)))

    async def unlink(self, asked: Asked) -> Answered:
        """Have a provider's login lead to the account no more."""
        check_fresh(asked)
        user = asked.principal.user
        await self._identities.unlink(user, asked.parameters["identity"], actor=user)
        return await self.show(asked)


def _identity(one: Identity) -> IdentityRow:
    return IdentityRow(
        id=one.identity_id,
        provider=one.provider,
        issuer=one.issuer,
        subject=one.subject,
        email=one.email,
        created=_time(one.created),
        seen=_time(one.seen),
    )


def _session(one: Session) -> SessionRow:
    return SessionRow(
        id=one.session_id,
        provider=one.provider,
        address=one.address,
        agent=one.agent,
        created=_time(one.created),
        seen=_time(one.seen),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
