"""Sessions of browsers: rows, so that every server knows them, and knows when they end.

Only the SHA-256 of what a browser keeps is here. A session ends by itself when nobody uses it for
`IDLE_SECONDS`, and `TOTAL_SECONDS` after it began, or `VOUCHED_SECONDS` when a provider vouched for
it; with its account's password, suspension or removal it ends in that very transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, and_, bindparam, delete, not_, or_, select, update
from sqlalchemy.engine import Connection

from treescale.errors import SessionUnknown, UserUnknown
from treescale.metadata.accounts import of_user, present
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recording import Kind, record
from treescale.metadata.namespaces import check_unchanged
from treescale.metadata.records import NO_PASSWORD
from treescale.metadata.schema import sessions, users

IDLE_SECONDS: Final = 12 * 3600.0
TOTAL_SECONDS: Final = 30 * 86_400.0
VOUCHED_SECONDS: Final = 86_400.0
"""For so long at most that of a provider: what it says of groups is then asked for again."""
SEEN_SECONDS_MIN: Final = 60.0
"""A use is written down once in so long."""
SESSIONS_MAX: Final = 50
"""Of one account; the oldest makes room."""

_LIVES: Final = and_(
    sessions.c.seen > bindparam("used_after"),
    sessions.c.created > bindparam("begun_after"),
    or_(sessions.c.provider == "", sessions.c.created > bindparam("vouched_after")),
)
_OF_USER: Final = sessions.c.user_name == bindparam("user")
_THIS: Final = sessions.c.session_id == bindparam("this")
FIND: Final = (
    select(sessions, users.c.admin, users.c.password_hash, present())
    .join(users, users.c.name == sessions.c.user_name)
    .where(sessions.c.secret_sha256 == bindparam("secret"), users.c.suspended.is_(None), _LIVES)
)
LIST: Final = (
    select(sessions)
    .where(_OF_USER, _LIVES)
    .order_by(sessions.c.created.desc(), sessions.c.session_id)
)
_HOLD_USER: Final = (
    select(users.c.name)
    .where(users.c.name == bindparam("user"), users.c.suspended.is_(None))
    .with_for_update(read=True)
)
"""As strongly as a change of the password, or a suspension, has to wait for."""
_TOO_MANY: Final = (
    select(sessions.c.session_id)
    .where(_OF_USER)
    .order_by(sessions.c.created.desc(), sessions.c.session_id)
    .offset(SESSIONS_MAX)
)
_END: Final = delete(sessions).where(_THIS, _OF_USER)
_END_ONE: Final = delete(sessions).where(_THIS)
_END_OTHERS: Final = delete(sessions).where(_OF_USER, sessions.c.session_id != bindparam("but"))
_TOUCH: Final = (
    update(sessions)
    .where(_THIS, sessions.c.seen <= bindparam("before"))
    .values(seen=bindparam("now"))
)
_PROVE: Final = update(sessions).where(_THIS, _OF_USER).values(proven=bindparam("now"))
_PRUNE: Final = delete(sessions).where(not_(_LIVES))


@dataclass(frozen=True, slots=True)
class Session:
    """A session. `proven` is when a password, or a provider, last said who this is."""

    session_id: str
    secret_sha256: str
    user: str
    provider: str
    """Who vouched for the user; "" for a password."""
    address: str
    agent: str
    """What the browser calls itself."""
    created: float
    proven: float
    seen: float
    is_administrator: bool = field(default=False, compare=False)
    has_password: bool = field(default=True, compare=False)
    generation: int = field(default=0, compare=False)
    """The cluster's when this was read. These three are read with it, and never written."""


class Sessions:
    """Sessions of all accounts."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, session: Session, *, generation: int) -> None:
        """Keep it, if nothing of its user has changed since that generation.

        Raises CredentialsInvalid when something has, and UserUnknown.
        """

        def work(connection: Connection) -> None:
            add_session(connection, session, generation)

        await self._connections.write(work)

    async def find(self, secret_sha256: str, *, now: float) -> Session | None:
        """Return the session of this secret, if it has not ended."""
        row = await self._connections.row(FIND, {"secret": secret_sha256, **_limits(now)})
        if row is None:
            return None
        return _session(
            row,
            is_administrator=bool(row.admin),
            has_password=row.password_hash != NO_PASSWORD,
            generation=row.generation,
        )

    async def touch(self, session: Session, *, now: float) -> None:
        """Note a use, once a minute."""
        if session.seen <= now - SEEN_SECONDS_MIN:
            limits = {"this": session.session_id, "before": now - SEEN_SECONDS_MIN, "now": now}
            await self._connections.change(_TOUCH, limits, durable=False)

    async def prove(self, session: Session, *, now: float) -> None:
        """Note that it was proven once more who this is."""
        these = {"this": session.session_id, "user": session.user, "now": now}
        await self._connections.change(_PROVE, these)

    async def list(self, user: str, *, now: float) -> Sequence[Session]:
        """Return a user's sessions, the newest first."""
        rows = await self._connections.rows(LIST, {"user": user, **_limits(now)})
        return [_session(row) for row in rows]

    async def end(self, user: str, session_id: str) -> None:
        """End one of a user's; raises SessionUnknown."""
        if not await self._connections.change(_END, {"this": session_id, "user": user}):
            raise SessionUnknown(f"no session {session_id[:100]}: it has ended, perhaps")

    async def end_others(self, user: str, but: str = "", *, actor: str) -> int:
        """End all of a user's but one; return how many."""

        def work(connection: Connection) -> int:
            ended = changed(connection, _END_OTHERS, {"user": user, "but": but})
            if ended:
                told = {"ended": ended}
                record(connection, of_user(Kind.USER_SESSIONS, actor, user, told))
            return ended

        return await self._connections.write(work)

    async def prune(self, *, now: float) -> None:
        """Forget those that have ended by themselves."""
        await self._connections.change(_PRUNE, _limits(now))


def add_session(connection: Connection, session: Session, generation: int) -> None:
    """Keep a session, in the caller's transaction; see `Sessions.add`."""
    if connection.execute(_HOLD_USER, {"user": session.user}).one_or_none() is None:
        raise UserUnknown(f"no user {session.user}, or suspended")
    check_unchanged(connection, session.user, generation)
    connection.execute(sessions.insert(), _row(session))
    for one in connection.execute(_TOO_MANY, {"user": session.user}).scalars().all():
        changed(connection, _END_ONE, {"this": one})


def _limits(now: float) -> dict[str, float]:
    return {
        "used_after": now - IDLE_SECONDS,
        "begun_after": now - TOTAL_SECONDS,
        "vouched_after": now - VOUCHED_SECONDS,
    }


def _row(session: Session) -> dict[str, object]:
    return {
        "session_id": session.session_id,
        "secret_sha256": session.secret_sha256,
        "user_name": session.user,
        "provider": session.provider,
        "address": session.address,
        "agent": session.agent,
        "created": session.created,
        "proven": session.proven,
        "seen": session.seen,
    }


def _session(row: Row[Any], **read: Any) -> Session:
    return Session(
        session_id=row.session_id,
        secret_sha256=row.secret_sha256,
        user=row.user_name,
        provider=row.provider,
        address=row.address,
        agent=row.agent,
        created=row.created,
        proven=row.proven,
        seen=row.seen,
        **read,
    )
