"""What proves somebody: the token service's keys, the secrets of servers, and access tokens."""

from typing import Any, Final

from sqlalchemy import (
    Double,
    Row,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import Refused, TokenUnknown, UserExists
from treescale.metadata.accounts import TOUCH_SECONDS_MIN, of_user, present, unknown_user, void
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.events.recording import Kind, record
from treescale.metadata.records import AccessToken, PeerKey, SigningKey
from treescale.metadata.schema import access_tokens, peer_keys, signing_keys, users

_THIS_SIGNING_KEY: Final = signing_keys.c.key_id == bindparam("this")

LIST_SIGNING_KEYS: Final = select(signing_keys).order_by(
    signing_keys.c.not_before, signing_keys.c.key_id
)
COUNT_SIGNING_KEYS: Final = select(func.count()).select_from(signing_keys)
# "None at all" is nothing a row lock can hold; SQLite's writers are alone anyway.
LOCK_ON_POSTGRESQL: Final = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
_ADD_SIGNING_KEY: Final = insert(signing_keys)
RETIRE_SIGNING_KEY: Final = (
    update(signing_keys).where(_THIS_SIGNING_KEY).values(retire_at=bindparam("at"))
)
REMOVE_SIGNING_KEY: Final = delete(signing_keys).where(_THIS_SIGNING_KEY)


class SigningKeys:
    """The token service's keys."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[SigningKey]:
        """Return all keys, oldest `not_before` first."""
        return [_key(row) for row in await self._connections.rows(LIST_SIGNING_KEYS)]

    async def add(self, key: SigningKey) -> None:
        """Keep a key."""
        await self._connections.change(_ADD_SIGNING_KEY, _row(key))

    async def add_first(self, key: SigningKey) -> None:
        """Keep a key if there is none at all; of several callers at once one wins."""

        def work(connection: Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(LOCK_ON_POSTGRESQL)
            if connection.execute(COUNT_SIGNING_KEYS).scalar_one() == 0:
                connection.execute(_ADD_SIGNING_KEY, _row(key))

        await self._connections.write(work)

    async def retire(self, key_id: str, *, retire_at: float) -> None:
        """Stop signing with it from then on."""
        await self._connections.change(RETIRE_SIGNING_KEY, {"this": key_id, "at": retire_at})

    async def remove(self, key_id: str) -> None:
        """Forget it: its tokens are void at once."""
        await self._connections.change(REMOVE_SIGNING_KEY, {"this": key_id})


def _row(key: SigningKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "private_pem": key.private_pem,
        "not_before": key.not_before,
        "retire_at": key.retire_at,
    }


def _key(row: Row[Any]) -> SigningKey:
    return SigningKey(
        key_id=row.key_id,
        private_pem=row.private_pem,
        not_before=row.not_before,
        retire_at=row.retire_at,
    )


LIST_PEER_KEYS: Final = select(peer_keys).order_by(peer_keys.c.number)
_ADD_PEER_KEY: Final = insert_or_ignore(
    peer_keys, returning=peer_keys.c.number, computed={"created": DatabaseNow()}
)
REMOVE_PEER_KEY: Final = delete(peer_keys).where(peer_keys.c.number == bindparam("this"))


class PeerKeys:
    """The secrets by which servers know each other. All are accepted; which signs is not said."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[PeerKey]:
        """Return all, oldest first."""
        rows = await self._connections.rows(LIST_PEER_KEYS)
        return [PeerKey(row.number, bytes(row.secret), row.created) for row in rows]

    async def add(self, number: int, secret: bytes) -> bool:
        """Keep a key under this number; False when there is one: of several at once one wins."""

        def work(connection: Connection) -> bool:
            row = {"number": number, "secret": secret}
            made = connection.execute(_ADD_PEER_KEY.on(connection), row)
            return made.scalar_one_or_none() is not None

        return await self._connections.write(work)

    async def remove(self, number: int) -> None:
        """Forget it: what it signed is void at once. Nothing happens when it is gone."""
        await self._connections.change(REMOVE_PEER_KEY, {"this": number})


TOKENS_MAX: Final = 1000
"""Of one user: pages and lists of them stay of a size that a server has the memory for."""
_THIS_TOKEN: Final = access_tokens.c.token_id == bindparam("this")
_OF_USER: Final = access_tokens.c.user_name == bindparam("user")
_TOKENS: Final = select(access_tokens, users.c.suspended, present()).join(
    users, users.c.name == access_tokens.c.user_name
)
FIND_TOKEN: Final = _TOKENS.where(access_tokens.c.secret_sha256 == bindparam("secret"))
GET_TOKEN: Final = _TOKENS.where(_THIS_TOKEN)
LIST_TOKENS: Final = _TOKENS.where(_OF_USER).order_by(
    access_tokens.c.created, access_tokens.c.token_id
)
PAGE_OF_TOKENS: Final = LIST_TOKENS.where(
    tuple_(access_tokens.c.created, access_tokens.c.token_id)
    > tuple_(bindparam("after_created", type_=Double()), bindparam("after_id", type_=Text()))
).limit(bindparam("limit"))
# Whoever else makes one of the same user waits: what was counted here stays so.
HOLD_MAKER: Final = (
    select(users.c.name).where(users.c.name == bindparam("user")).with_for_update(key_share=True)
)
COUNT_TOKENS: Final = select(func.count()).select_from(access_tokens).where(_OF_USER)
SAME_LABEL: Final = (
    select(access_tokens.c.token_id)
    .where(
        _OF_USER,
        access_tokens.c.label == bindparam("same"),
        or_(access_tokens.c.expires.is_(None), access_tokens.c.expires > bindparam("now")),
    )
    .limit(1)
)
FORGET_ENDED: Final = delete(access_tokens).where(
    _OF_USER, access_tokens.c.expires <= bindparam("now")
)
_ADD_TOKEN: Final = insert(access_tokens)
REVOKE_TOKEN: Final = (
    delete(access_tokens)
    .where(_THIS_TOKEN)
    .returning(access_tokens.c.user_name, access_tokens.c.label)
)
_NOT_TOUCHED: Final = or_(
    access_tokens.c.last_used.is_(None), access_tokens.c.last_used <= bindparam("before")
)
IS_NOT_TOUCHED: Final = select(access_tokens.c.token_id).where(_THIS_TOKEN, _NOT_TOUCHED)
TOUCH_TOKEN: Final = (
    update(access_tokens).where(_THIS_TOKEN, _NOT_TOUCHED).values(last_used=bindparam("now"))
)


class AccessTokens:
    """Access tokens."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, token: AccessToken, *, actor: str, label_once: bool = False) -> None:
        """Keep it; raises UserUnknown when its user does not exist, Refused for `TOKENS_MAX`.

        With `label_once` UserExists when there is one of its label that has not ended.
        """

        def work(connection: Connection) -> None:
            held = connection.execute(HOLD_MAKER, {"user": token.user})
            if held.one_or_none() is None:
                raise unknown_user(token.user)
            if label_once:
                _check_label(connection, token)
            _check_room(connection, token)
            connection.execute(_ADD_TOKEN, _token_row(token))
            told = {
                "token_id": token.token_id,
                "label": token.label,
                "allow": sorted(token.allow),
                "repository": token.repository,
                "expires": token.expires,
            }
            record(connection, of_user(Kind.TOKEN_CREATED, actor, token.user, told))

        await self._connections.write(work)

    async def find(self, secret_sha256: str) -> AccessToken:
        """Return the token with this secret, expired or not; raises TokenUnknown."""
        row = await self._connections.row(FIND_TOKEN, {"secret": secret_sha256})
        if row is None:
            raise TokenUnknown("no access token has this secret")
        return _token(row)

    async def get(self, token_id: str) -> AccessToken:
        """Return it, expired or not; raises TokenUnknown."""
        row = await self._connections.row(GET_TOKEN, {"this": token_id})
        if row is None:
            raise unknown_token(token_id)
        return _token(row)

    async def page(self, user: str, after: tuple[float, str], limit: int) -> list[AccessToken]:
        """Return some of a user's tokens, those that follow a time of making and an id."""
        page = {"user": user, "after_created": after[0], "after_id": after[1], "limit": limit}
        return [_token(row) for row in await self._connections.rows(PAGE_OF_TOKENS, page)]

    async def list(self, user: str) -> list[AccessToken]:
        """Return a user's tokens, oldest first."""
        return [_token(row) for row in await self._connections.rows(LIST_TOKENS, {"user": user})]

    async def revoke(self, token_id: str, *, actor: str) -> None:
        """Remove it, and change the generation of `token:ID`; raises TokenUnknown."""

        def work(connection: Connection) -> None:
            gone = connection.execute(REVOKE_TOKEN, {"this": token_id}).one_or_none()
            if gone is None:
                raise unknown_token(token_id)
            void(connection, f"token:{token_id}")
            told = {"token_id": token_id, "label": gone.label}
            record(connection, of_user(Kind.TOKEN_REVOKED, actor, gone.user_name, told))

        await self._connections.write(work)

    async def touch(self, token_id: str, *, now: float) -> None:
        """Record a use; nothing happens when it is gone. At most one write a minute."""
        # Asked first without the writers' lock, as nearly every use comes within the minute.
        limits = {"this": token_id, "before": now - TOUCH_SECONDS_MIN}
        if await self._connections.row(IS_NOT_TOUCHED, limits) is not None:
            await self._connections.change(TOUCH_TOKEN, {**limits, "now": now})


def unknown_token(token_id: str) -> TokenUnknown:
    """Return what is raised for an id that no access token has."""
    return TokenUnknown(
        f"no access token {token_id[:100]}: `treescale token list USER` has the ids of all"
    )


def _check_label(connection: Connection, token: AccessToken) -> None:
    """Raise UserExists when there is an access token of this label that has not ended."""
    these = {"user": token.user, "same": token.label, "now": token.created}
    known = connection.execute(SAME_LABEL, these).scalar()
    if known is not None:
        raise UserExists(
            f"{token.user} has an access token {token.label!r} already: give this one another "
            f"name, or revoke that one (`treescale token revoke {known}`)",
            known=known,
        )


def _check_room(connection: Connection, token: AccessToken) -> None:
    """Raise Refused when the user has as many as there may be; those that have ended go first."""
    these = {"user": token.user, "now": token.created}
    if connection.execute(COUNT_TOKENS, these).scalar_one() < TOKENS_MAX:
        return
    if changed(connection, FORGET_ENDED, these) == 0:
        raise Refused(
            f"{token.user} has {TOKENS_MAX:,} access tokens: revoke those that nobody uses "
            f"(`treescale token list {token.user}` says when each was used last)"
        )


def _token_row(token: AccessToken) -> dict[str, object]:
    return {
        "token_id": token.token_id,
        "user_name": token.user,
        "label": token.label,
        "secret_sha256": token.secret_sha256,
        "allow": ",".join(sorted(token.allow)),
        "repository": token.repository,
        "created": token.created,
        "expires": token.expires,
        "last_used": token.last_used,
    }


def _token(row: Row[Any]) -> AccessToken:
    return AccessToken(
        token_id=row.token_id,
        user=row.user_name,
        label=row.label,
        secret_sha256=row.secret_sha256,
        allow=frozenset(row.allow.split(",")) if row.allow else frozenset(),
        repository=row.repository,
        created=row.created,
        expires=row.expires,
        last_used=row.last_used,
        generation=row.generation,
        user_suspended=row.suspended is not None,
    )
