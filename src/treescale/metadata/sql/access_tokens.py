"""Access tokens in SQL."""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, insert, or_, select, update
from sqlalchemy.engine import Connection

from treescale.errors import TokenUnknown, UserUnknown
from treescale.metadata.records import AccessToken
from treescale.metadata.schema import access_tokens, users
from treescale.metadata.sql.connections import Connections, changed
from treescale.metadata.sql.revocations import revoke

touch_seconds_min: Final = 60.0

_THIS: Final = access_tokens.c.token_id == bindparam("this")

FIND: Final = select(access_tokens).where(access_tokens.c.secret_sha256 == bindparam("secret"))
LIST: Final = (
    select(access_tokens)
    .where(access_tokens.c.user_name == bindparam("user"))
    .order_by(access_tokens.c.created, access_tokens.c.token_id)
)
HOLD_USER: Final = (
    select(users.c.name)
    .where(users.c.name == bindparam("user"))
    .with_for_update(read=True, key_share=True)
)
_ADD: Final = insert(access_tokens)
REVOKE: Final = delete(access_tokens).where(_THIS)
_STALE: Final = or_(
    access_tokens.c.last_used.is_(None), access_tokens.c.last_used <= bindparam("before")
)
IS_STALE: Final = select(access_tokens.c.token_id).where(_THIS, _STALE)
TOUCH: Final = update(access_tokens).where(_THIS, _STALE).values(last_used=bindparam("now"))


class SqlAccessTokens:
    """Implements `protocols.AccessTokens`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, token: AccessToken) -> None:
        """Keep it; raises UserUnknown when its user does not exist."""

        def work(connection: Connection) -> None:
            held = connection.execute(HOLD_USER, {"user": token.user})
            if held.one_or_none() is None:
                raise UserUnknown(f"no user {token.user}")
            connection.execute(_ADD, _row(token))

        await self._connections.write(work)

    async def find(self, secret_sha256: str) -> AccessToken:
        """Return the token with this secret, expired or not; raises TokenUnknown."""
        row = await self._connections.row(FIND, {"secret": secret_sha256})
        if row is None:
            raise TokenUnknown("no access token has this secret")
        return _token(row)

    async def list(self, user: str) -> list[AccessToken]:
        """Return a user's tokens, oldest first."""
        return [_token(row) for row in await self._connections.rows(LIST, {"user": user})]

    async def revoke(self, token_id: str, *, now: float) -> None:
        """Remove it and record a revocation of `token:ID`; raises TokenUnknown."""

        def work(connection: Connection) -> None:
            if changed(connection, REVOKE, {"this": token_id}) == 0:
                raise TokenUnknown(f"no access token {token_id}")
            revoke(connection, f"token:{token_id}", now=now)

        await self._connections.write(work)

    async def touch(self, token_id: str, *, now: float) -> None:
        """Record a use; nothing happens when it is gone. At most one write a minute.

        Asked first without the writers' lock, as nearly every use comes within the minute.
        """
        limits = {"this": token_id, "before": now - touch_seconds_min}
        if await self._connections.row(IS_STALE, limits) is not None:
            await self._connections.change(TOUCH, {**limits, "now": now})


def _row(token: AccessToken) -> dict[str, object]:
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
    )
