"""`/tokens`: access tokens, one's own; for administrators, anybody's.

A secret is made for whoever shows the password: an access token makes no others, whatever it is
for, so that one which leaked cannot outlive its end. It is shown once.
"""

from datetime import MAXYEAR, UTC, datetime
from typing import Final

import msgspec

from treescale.auth.scopes import Action, TokenScope
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked, check_fresh
from treescale.errors import Forbidden
from treescale.metadata.database import Database
from treescale.metadata.keys import unknown_token
from treescale.metadata.records import AccessToken
from treescale.registry.accounts import (
    PasswordHashing,
    TokenTerms,
    accounts_of,
    parse_allow,
    parse_duration,
    token_cursor,
)

LATEST: Final = datetime(MAXYEAR, 12, 31, tzinfo=UTC).timestamp()
"""Version 0.1.0 made access tokens that end later, which no date says."""
_RIGHTS = (*Action, *TokenScope)


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """What an access token is to be."""

    name: str
    """What it is for, for the list."""
    user: str = ""
    """Whose, for administrators; else the caller's."""
    allow: list[str] = msgspec.field(default_factory=lambda: ["pull", "push"])
    """Of `pull`, `push` and `delete`; or of `metrics`, `events` and `api`."""
    repository: str = "*"
    """On which names: a glob."""
    expires: str = "90d"
    """`30m`, `12h`, `90d`, `2w`, `1y` or `none`."""


class TokenRow(msgspec.Struct):
    """An access token, without its secret; times are of UTC."""

    id: str
    user: str
    name: str
    allow: list[str]
    repository: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None


class TokenPage(msgspec.Struct):
    """Some of a user's, oldest first; `next` is what `after` has to be for those that follow."""

    tokens: list[TokenRow]
    next: str | None


class TokenMade(msgspec.Struct):
    """A new access token, and its secret: it is shown this once."""

    secret: str
    token: TokenRow


class TokenDesk:
    """What answers for access tokens."""

    def __init__(self, database: Database, passwords: PasswordHashing) -> None:
        self._database = database
        self._passwords = passwords

    async def list(self, asked: Asked) -> Answered:
        """List the caller's; for administrators also another's."""
        user = _whose(asked, asked.query.get("user", ""))
        paging = Paging.of(asked)
        accounts = await accounts_of(self._database, self._passwords)
        found = await accounts.page_tokens(user, paging.after, paging.limit + 1)
        filters = {"user": user} if "user" in asked.query else {}
        shown, last, headers = page_of("/tokens", paging, found, token_cursor, filters)
        return Answered(TokenPage([_row(one) for one in shown], last), headers)

    async def add(self, asked: Asked) -> Answered:
        """Make one."""
        check_fresh(asked)
        wanted: NewToken = asked.body
        user = _whose(asked, wanted.user)
        terms = TokenTerms(
            wanted.name,
            parse_allow(",".join(wanted.allow)),
            wanted.repository,
            parse_duration(wanted.expires),
        )
        accounts = await accounts_of(self._database, self._passwords)
        actor = asked.principal.user
        secret, made = await accounts.create_token(user, terms, actor=actor, label_once=True)
        return Answered(TokenMade(secret, _row(made)))

    async def revoke(self, asked: Asked) -> Answered:
        """Void one: within a minute everywhere."""
        token_id = asked.parameters["token"]
        found = await self._database.access_tokens.get(token_id)
        if not (asked.is_administrator or found.user == asked.principal.user):
            raise unknown_token(token_id)
        accounts = await accounts_of(self._database, self._passwords)
        await accounts.revoke_token(token_id, actor=asked.principal.user)
        return Answered(_row(found))


def _whose(asked: Asked, user: str) -> str:
    """Return whose tokens these are; raises Forbidden for somebody else's."""
    if user in ("", asked.principal.user):
        return asked.principal.user
    if not asked.is_administrator:
        raise Forbidden("access tokens of others are for administrators")
    return user


def _row(one: AccessToken) -> TokenRow:
    return TokenRow(
        id=one.token_id,
        user=one.user,
        name=one.label,
        allow=[right.value for right in _RIGHTS if right in one.allow],
        repository=one.repository,
        created=datetime.fromtimestamp(int(one.created), UTC),
        expires=_time(one.expires),
        last_used=_time(one.last_used),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(int(min(seconds, LATEST)), UTC)
