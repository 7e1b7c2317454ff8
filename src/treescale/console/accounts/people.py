"""`/users/…` and `/invitations`: what administrators do to the accounts of people.

A link lets in who has it, so that making one takes a password, as any secret does.
"""

from datetime import UTC, datetime

import msgspec

from treescale.clock import Clock
from treescale.console.accounts.account import SessionsEnded
from treescale.console.accounts.users import UserRow, user_row
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked, check_fresh
from treescale.metadata.database import Database
from treescale.metadata.identity.links import GivenRole, Link
from treescale.metadata.identity.sessions import Sessions
from treescale.registry.accounts import PasswordHashing
from treescale.registry.people.accounts import People


class Suspension(msgspec.Struct, forbid_unknown_fields=True):
    """Whether nothing of the account is to count."""

    suspended: bool


class AdminFlag(msgspec.Struct, forbid_unknown_fields=True):
    """Whether it is an administrator's."""

    admin: bool


class InvitedRole(msgspec.Struct, forbid_unknown_fields=True):
    """A role that comes with an invitation."""

    namespace: str
    role: str
    repository: str = "*"


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to invite: the name of the account, and what it is to have."""

    name: str
    admin: bool = False
    roles: list[InvitedRole] = []


class InvitationRow(msgspec.Struct):
    """An invitation that nobody has accepted yet; times are of UTC."""

    id: str
    name: str
    admin: bool
    roles: list[InvitedRole]
    actor: str
    created: datetime
    expires: datetime


class InvitationPage(msgspec.Struct):
    """Some of them, by id; `next` is what `after` has to be for those that follow."""

    invitations: list[InvitationRow]
    next: str | None


class LinkMade(msgspec.Struct):
    """A link that is good once: it is shown this once."""

    id: str
    name: str
    path: str
    url: str | None
    """None where `public_url` is not set: put the registry's address before `path`."""
    expires: datetime


class LinkRemoved(msgspec.Struct):
    """Which invitation leads nowhere now."""

    id: str


class PeopleDesk:
    """What answers for administrators."""

    def __init__(
        self, database: Database, passwords: PasswordHashing, clock: Clock, public_url: str
    ) -> None:
        self._database = database
        self._people = People(database, passwords, clock)
        self._sessions = Sessions(database.connections)
        self._public_url = public_url

    async def suspend(self, asked: Asked) -> Answered:
        """Suspend an account, or resume it."""
        wanted: Suspension = asked.body
        states, actor = self._people.states, asked.principal.user
        if wanted.suspended:
            await states.suspend(asked.parameters["user"], actor=actor)
        else:
            await states.resume(asked.parameters["user"], actor=actor)
        return await self._row(asked)

    async def set_admin(self, asked: Asked) -> Answered:
        """Make somebody an administrator, or not."""
        wanted: AdminFlag = asked.body
        if wanted.admin:
            check_fresh(asked)
        await self._people.states.set_admin(
            asked.parameters["user"], admin=wanted.admin, actor=asked.principal.user
        )
        return await self._row(asked)

    async def remove_password(self, asked: Asked) -> Answered:
        """Have no password log in to an account."""
        actor = asked.principal.user
        await self._people.states.remove_password(asked.parameters["user"], actor=actor)
        return await self._row(asked)

    async def end_sessions(self, asked: Asked) -> Answered:
        """End all sessions of an account."""
        found = await self._database.users.get(asked.parameters["user"])
        ended = await self._sessions.end_others(found.name, actor=asked.principal.user)
        return Answered(SessionsEnded(ended))

    async def reset(self, asked: Asked) -> Answered:
        """Make a link with which the user sets another password."""
        check_fresh(asked)
        name = asked.parameters["user"]
        secret, link = await self._people.reset(name, actor=asked.principal.user)
        return Answered(self._made(secret, link))

    async def invite(self, asked: Asked) -> Answered:
        """Make a link with which somebody makes an account."""
        check_fresh(asked)
        wanted: NewInvitation = asked.body
        roles = [GivenRole(one.namespace, one.role, one.repository) for one in wanted.roles]
        secret, link = await self._people.invite(
            wanted.name, admin=wanted.admin, roles=roles, actor=asked.principal.user
        )
        return Answered(self._made(secret, link))

    async def invitations(self, asked: Asked) -> Answered:
        """List those that can be accepted."""
        paging = Paging.of(asked)
        found = await self._people.invitations(paging.after, paging.limit + 1)
        shown, last, headers = page_of("/invitations", paging, found, lambda one: one.link_id)
        return Answered(InvitationPage([_row(one) for one in shown], last), headers)

    async def withdraw(self, asked: Asked) -> Answered:
        """Have an invitation lead nowhere."""
        await self._people.withdraw(asked.parameters["invitation"], actor=asked.principal.user)
        return Answered(LinkRemoved(asked.parameters["invitation"]))

    async def _row(self, asked: Asked) -> Answered:
        found = await self._database.users.get(asked.parameters["user"])
        row: UserRow = user_row(found)
        return Answered(row)

    def _made(self, secret: str, link: Link) -> LinkMade:
        path = f"/-/{link.kind}/{secret}"
        url = f"{self._public_url}{path}" if self._public_url else None
        return LinkMade(link.link_id, link.user, path, url, _time(link.expires))


def _row(one: Link) -> InvitationRow:
    return InvitationRow(
        id=one.link_id,
        name=one.user,
        admin=one.admin,
        roles=[InvitedRole(each.namespace, each.role, each.repository) for each in one.roles],
        actor=one.actor,
        created=_time(one.created),
        expires=_time(one.expires),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
