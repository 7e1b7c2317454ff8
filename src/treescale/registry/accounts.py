"""Accounts and access tokens: what administration does with them.

A secret leaves here once, when it is made: nothing returned later contains one.
"""

import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Protocol

from treescale.auth.access_tokens import RANDOM_BYTES, access_token_text, secret_sha256
from treescale.auth.passwords import check_new_password
from treescale.auth.scopes import Action, Right, TokenScope
from treescale.clock import Clock, DatabaseClock, SystemClock
from treescale.errors import (
    NamespaceUnknown,
    PageInvalid,
    PasswordInvalid,
    RequestInvalid,
    SettingInvalid,
    UserExists,
    UserUnknown,
)
from treescale.lease_times import KEPT_SECONDS_MAX, shown
from treescale.metadata.accounts import Users
from treescale.metadata.database import Database
from treescale.metadata.keys import AccessTokens
from treescale.metadata.namespaces import ORGANISATION
from treescale.metadata.organisations import Organisations
from treescale.metadata.records import AccessToken, User
from treescale.oci.names import NAME_CHARACTERS_MAX, check_new_namespace

ADMINISTRATOR: Final = "admin"
LABEL_CHARACTERS_MAX: Final = 100
PAGE_SIZE: Final = 500
_RIGHTS: Final = "pull, push, delete, or metrics, events, api"
_EXPIRY: Final = re.compile(r"([1-9][0-9]{0,4})([mhdwy])")
_UNIT_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_GLOB: Final = re.compile(r"[a-z0-9._/*?-]+")
# No l, o, 0 or 1: it is read from a terminal and typed. 32 letters, so a byte maps evenly.
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_GENERATED_GROUPS: Final = 5
_GENERATED_GROUP: Final = 4


class PasswordHashing(Protocol):
    """What setting passwords needs."""

    async def hash(self, password: str) -> str:
        """Return an argon2id string with a fresh salt."""
        ...


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What an access token is to be: its label, its reach, and for how many seconds it lasts."""

    label: str
    allow: frozenset[Right] = frozenset({Action.PULL, Action.PUSH})
    """For the registry, or scopes of what is beside it: not both."""
    repository: str = "*"
    lasts_seconds: float | None = None


class Accounts:
    """Creates, changes and removes accounts and their access tokens."""

    def __init__(
        self,
        users: Users,
        access_tokens: AccessTokens,
        passwords: PasswordHashing,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        organisations: Organisations | None = None,
    ) -> None:
        """`organisations` say where else a user has a role, for whoever makes access tokens."""
        self._organisations = organisations
        self._users = users
        self._access_tokens = access_tokens
        self._passwords = passwords
        self._clock = clock
        self._random = random

    async def first_start(self, password: str | None, *, actor: str) -> str | None:
        """Make the administrator when there is no user at all; return what to tell people.

        None when there was nothing to do: users exist, or another process was faster. Without a
        `password` (TREESCALE_ADMIN_PASSWORD) a random one is made, and is in what is returned.
        """
        if await self._users.list("", 1):
            return None
        try:
            await self.add_user(
                ADMINISTRATOR, password or (made := self._password()), admin=True, actor=actor
            )
        except PasswordInvalid as error:
            raise SettingInvalid(f"TREESCALE_ADMIN_PASSWORD: {error}") from None
        except UserExists:
            return None
        if password:
            return (
                f"The administrator is {ADMINISTRATOR}; the password is TREESCALE_ADMIN_PASSWORD."
            )
        return (
            f"The administrator is {ADMINISTRATOR} with the password {made}\n"
            "It is shown this once. Change it with:\n  `treescale user password admin`"
        )

    async def add_user(self, name: str, password: str, *, actor: str, admin: bool = False) -> User:
        """Create an account; raises NameInvalid, PasswordInvalid, UserExists."""
        check_new_namespace(name)
        check_new_password(password, user=name)
        password_hash = await self._passwords.hash(password)
        user = User(name, password_hash, admin, self._clock.now())
        await self._users.add(user, actor=actor)
        return user

    async def set_password(self, name: str, password: str, *, actor: str) -> None:
        """Change a password; what was signed on the old one is void within a minute.

        Access tokens are credentials of their own and stay. Raises UserUnknown, PasswordInvalid.
        """
        check_new_password(password, user=name)
        await self._users.get(name)
        password_hash = await self._passwords.hash(password)
        await self._users.set_password(name, password_hash, actor=actor)

    async def remove_user(self, name: str, *, actor: str) -> None:
        """Remove an account and its access tokens; its repositories stay. Raises UserUnknown."""
        await self._users.remove(name, actor=actor)

    async def list_users(self) -> AsyncIterator[User]:
        """Yield all accounts by name."""
        after = ""
        while page := await self._users.list(after, PAGE_SIZE):
            for user in page:
                yield user
            after = page[-1].name

    async def create_token(
        self, user: str, terms: TokenTerms, *, actor: str, label_once: bool = False
    ) -> tuple[str, AccessToken]:
        """Return a new access token's text, which is never seen again, and what is kept of it.

        Raises UserUnknown, RequestInvalid, Refused for too many; with `label_once` UserExists when
        the user has one of that label that has not ended.
        """
        check_terms(user, terms, await self._roles_of(user))
        if TokenScope.METRICS in terms.allow and not (await self._users.get(user)).admin:
            raise RequestInvalid(f"metrics are for administrators, and {user} is none")
        text = access_token_text(self._random(RANDOM_BYTES))
        now = self._clock.now()
        token = AccessToken(
            token_id=self._random(6).hex(),
            user=user,
            label=terms.label,
            secret_sha256=secret_sha256(text),
            allow=frozenset(str(right) for right in terms.allow),
            repository=terms.repository,
            created=now,
            expires=None if terms.lasts_seconds is None else now + terms.lasts_seconds,
            last_used=None,
        )
        await self._access_tokens.add(token, actor=actor, label_once=label_once)
        return text, token

    async def list_tokens(self, user: str) -> list[AccessToken]:
        """Return a user's access tokens, oldest first; raises UserUnknown."""
        await self._users.get(user)
        return await self._access_tokens.list(user)

    async def page_tokens(self, user: str, after: str, limit: int) -> list[AccessToken]:
        """Return a page of them; `after` is a `token_cursor`. Raises UserUnknown, PageInvalid."""
        await self._users.get(user)
        created, _, token_id = after.rpartition("/")
        try:
            place = float(created) if after else 0.0
        except ValueError:
            raise PageInvalid("after must be the `next` of the page before") from None
        return await self._access_tokens.page(user, (place, token_id), limit)

    async def revoke_token(self, token_id: str, *, actor: str) -> None:
        """Void an access token, within a minute everywhere; raises TokenUnknown."""
        await self._access_tokens.revoke(token_id, actor=actor)

    async def _roles_of(self, user: str) -> Collection[str]:
        """Return the namespaces in which the user was granted anything."""
        return await self._organisations.holdings(user) if self._organisations else ()

    def _password(self) -> str:
        """Return a random password of 100 bits, in groups that can be read out."""
        letters = [_LETTERS[byte & 31] for byte in self._random(_GENERATED_GROUPS * 4)]
        groups = range(0, len(letters), _GENERATED_GROUP)
        return "-".join("".join(letters[at : at + _GENERATED_GROUP]) for at in groups)


def token_cursor(token: AccessToken) -> str:
    """Return where a page of access tokens goes on after this one."""
    return f"{token.created!r}/{token.token_id}"


async def accounts_of(database: Database, passwords: PasswordHashing) -> Accounts:
    """Return the accounts kept in this database, whose times are the database's."""
    time = DatabaseClock(SystemClock())
    await time.read(database.servers.now)
    return Accounts(
        database.users,
        database.access_tokens,
        passwords,
        time,
        organisations=database.organisations,
    )


async def check_unclaimed(database: Database, name: str) -> None:
    """Raise UserExists when repositories are left of an earlier user `name`.

    Whoever gets the name owns them: nobody should by mistake. Says nothing of a user who exists.
    """
    try:
        await database.users.get(name)
    except UserUnknown:
        await _check_no_organisation(database, name)
        left = await database.repositories.list_all(f"{name}/", 1)
        if left and left[0].name.startswith(f"{name}/"):
            raise UserExists(
                f"there are repositories of an earlier user {name}, such as {left[0].name}: "
                "delete them first, or hand them over with --adopt",
                known=left[0].name,
            ) from None


async def _check_no_organisation(database: Database, name: str) -> None:
    """Raise UserExists for the name of an organisation, whose repositories are nobody else's."""
    try:
        found = await database.organisations.get(name)
    except NamespaceUnknown:
        return
    if found.kind == ORGANISATION:
        raise UserExists(f"the organisation {name} exists already", known=name)


def check_terms(user: str, terms: TokenTerms, others: Collection[str] = ()) -> None:
    """Raise RequestInvalid when no token of `user` may be made like this.

    `others` are the namespaces in which she has a role.
    """
    label = terms.label
    if not (0 < len(label) <= LABEL_CHARACTERS_MAX and label.isprintable() and label.strip()):
        raise RequestInvalid(
            f"a token's name is 1 to {LABEL_CHARACTERS_MAX} printable characters: "
            "say what the token is for"
        )
    if not terms.allow:
        raise RequestInvalid(f"a token must allow something: {_RIGHTS}")
    glob = terms.repository
    _check_scopes(terms)
    if len(glob) > NAME_CHARACTERS_MAX or _GLOB.fullmatch(glob) is None:
        raise RequestInvalid(
            "a repository pattern is made of the characters of a name, * (anything) and ?"
        )
    of = glob.partition("/")[0]
    if not any(fnmatchcase(one, of) for one in (user, *others)):
        raise RequestInvalid(
            f"the pattern {glob} matches no repository of {user}, nor of an organisation in which "
            f"{user} has a role: it is compared with whole names, such as {user}/app or {user}/*"
        )


def _check_scopes(terms: TokenTerms) -> None:
    """Raise RequestInvalid for scopes beside rights on repositories.

    So a server of an earlier version, which knows no scopes, finds no right in such a token.
    """
    scopes = [scope.value for scope in TokenScope if scope in terms.allow]
    if not scopes:
        return
    if any(action in terms.allow for action in Action):
        raise RequestInvalid(
            f"a token is for the registry (pull, push, delete) or for {' and '.join(scopes)}: "
            "make one for each"
        )
    if terms.repository != "*":
        raise RequestInvalid(f"{scopes[0]} is not of repositories: leave --repository out")


def parse_duration(text: str) -> float | None:
    """Return how many seconds `90d`, `12h`, `30m`, `2w` or `1y` are; None for `none` (for ever).

    Raises RequestInvalid for anything else, and for more than has a date.
    """
    if text == "none":
        return None
    found = _EXPIRY.fullmatch(text)
    if found is None:
        raise RequestInvalid(f"{shown(text)} is not a time: say 90d, 12h, 30m, 2w, 1y or none")
    seconds = float(int(found[1]) * _UNIT_SECONDS[found[2]])
    if seconds > KEPT_SECONDS_MAX:
        raise RequestInvalid(f"{text} is more than a hundred years: say none for no end")
    return seconds


def parse_allow(text: str, *, of: str = _RIGHTS) -> frozenset[Right]:
    """Return the rights of `pull,push`, or scopes; raises RequestInvalid for any other word.

    `of` is what the refusal says there is.
    """
    known: dict[str, Right] = {right.value: right for right in (*Action, *TokenScope)}
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise RequestInvalid(f"{unknown[0]!r} is not a right: say {of}")
    return frozenset(known[word] for word in words)
