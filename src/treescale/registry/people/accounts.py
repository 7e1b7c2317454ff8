"""What an administrator does to accounts, and what somebody does to their own.

Invitations and resets are links that are used once: their secret leaves here when they are made.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from treescale.auth.access_tokens import is_access_token, secret_sha256
from treescale.auth.passwords import check_new_password
from treescale.auth.policy import Principal
from treescale.auth.roles import EVERY_REPOSITORY, Role
from treescale.clock import Clock
from treescale.errors import CredentialsInvalid, LinkUnknown, NameInvalid, RequestInvalid
from treescale.metadata.database import Database
from treescale.metadata.identity.links import INVITATION, RESET, GivenRole, Link, Links
from treescale.metadata.identity.states import AccountStates
from treescale.oci.names import check_namespace, check_new_namespace
from treescale.registry.organisations import check_glob, parse_role
from treescale.registry.people.sessions import ID_BYTES, SECRET_BYTES, SECRET_CHARACTERS, encoded

INVITATION_SECONDS: Final = 7 * 86_400.0
RESET_SECONDS: Final = 86_400.0
ROLES_MAX: Final = 100
"""Of one invitation."""


class PasswordHashing(Protocol):
    """What setting passwords needs."""

    async def hash(self, password: str) -> str:
        """Return an argon2id string with a fresh salt."""
        ...


class PasswordLogin(Protocol):
    """What proves a password."""

    async def authenticate(self, name: str, secret: str, *, source: str = "") -> Principal:
        """Return who this is; raises CredentialsInvalid, TooMany."""
        ...


class People:
    """Accounts of people, as administration and they themselves change them."""

    def __init__(
        self,
        database: Database,
        passwords: PasswordHashing,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.states = AccountStates(database.connections)
        self._users = database.users
        self._links = Links(database.connections)
        self._passwords = passwords
        self._clock = clock
        self._random = random

    async def invite(
        self, name: str, *, admin: bool, roles: Sequence[GivenRole], actor: str
    ) -> tuple[str, Link]:
        """Make a link with which somebody makes the account `name`; return its secret, and it.

        Raises NameInvalid, RequestInvalid, UserExists, NamespaceUnknown.
        """
        check_new_namespace(name)
        if len(roles) > ROLES_MAX:
            raise RequestInvalid(f"an invitation gives at most {ROLES_MAX} roles")
        for one in roles:
            role = parse_role(one.role)
            check_glob(one.namespace, one.repository)
            if role is Role.OWNER and one.repository != EVERY_REPOSITORY:
                raise RequestInvalid("an owner is one of all of it: leave the pattern out")
        return await self._add(INVITATION, name, admin=admin, roles=tuple(roles), actor=actor)

    async def reset(self, name: str, *, actor: str) -> tuple[str, Link]:
        """Make a link with which the user of an account sets another password.

        Raises UserUnknown.
        """
        check_namespace(name)
        return await self._add(RESET, name, admin=False, roles=(), actor=actor)

    async def look(self, kind: str, secret: str) -> Link:
        """Return what a link is for, and leave it as it is; raises LinkUnknown."""
        if len(secret) != SECRET_CHARACTERS or not secret.isascii():
            raise LinkUnknown("this link is not whole: copy it once more")
        link = await self._links.find(secret_sha256(secret), now=self._clock.now())
        if link.kind != kind:
            raise LinkUnknown("this link is for something else: copy it once more")
        return link

    async def accept(self, secret: str, password: str) -> Link:
        """Make the account of an invitation with this password.

        Raises LinkUnknown, PasswordInvalid, UserExists.
        """
        link = await self.look(INVITATION, secret)
        password_hash = await self._hash(password, link.user)
        now = self._clock.now()
        return await self._links.accept(secret_sha256(secret), password_hash, now=now)

    async def set_by_link(self, secret: str, password: str) -> Link:
        """Give the account of a reset this password; raises LinkUnknown, PasswordInvalid."""
        link = await self.look(RESET, secret)
        password_hash = await self._hash(password, link.user)
        now = self._clock.now()
        return await self._links.reset(secret_sha256(secret), password_hash, now=now)

    async def invitations(self, after: str, limit: int) -> Sequence[Link]:
        """Return a page of those that can be used, by id."""
        return await self._links.list(INVITATION, after, limit, now=self._clock.now())

    async def withdraw(self, link_id: str, *, actor: str) -> None:
        """Have an invitation lead nowhere; raises LinkUnknown."""
        await self._links.withdraw(link_id, actor=actor)

    async def change_password(self, proven: Principal, new: str) -> None:
        """Change the password of who has just proven the one of now; all sessions end.

        Raises PasswordInvalid, and CredentialsInvalid when the account has changed meanwhile.
        """
        name = proven.user
        password_hash = await self._hash(new, name)
        await self._users.set_password(
            name, password_hash, actor=name, generation=proven.generation
        )

    async def prune(self) -> None:
        """Forget links whose time is over."""
        await self._links.prune(now=self._clock.now())

    async def _hash(self, password: str, name: str) -> str:
        check_new_password(password, user=name)
        return await self._passwords.hash(password)

    async def _add(
        self, kind: str, name: str, *, admin: bool, roles: tuple[GivenRole, ...], actor: str
    ) -> tuple[str, Link]:
        secret, now = encoded(self._random(SECRET_BYTES)), self._clock.now()
        seconds = INVITATION_SECONDS if kind == INVITATION else RESET_SECONDS
        link = Link(
            self._random(ID_BYTES).hex(), kind, name, admin, roles, actor, now, now + seconds
        )
        await self._links.add(link, secret_sha256(secret))
        return secret, link


async def prove(login: PasswordLogin, name: str, secret: str, *, source: str = "") -> Principal:
    """Return whom a password proves: no access token, which machines have.

    Raises CredentialsInvalid, TooMany.
    """
    if is_access_token(secret):
        raise CredentialsInvalid(
            "this is an access token, which `docker login` takes: use the password here"
        )
    try:
        check_namespace(name)
    except NameInvalid:
        raise CredentialsInvalid("the user name or the password is wrong") from None
    principal = await login.authenticate(name, secret, source=source)
    if principal.token_id or principal.user != name:
        raise CredentialsInvalid("use the password of a person here")
    return principal
