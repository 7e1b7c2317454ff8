"""Issuers whose ID tokens are believed, and which of those were used.

Who may be one is an administrator's word. When one goes, the trust rules that name it go with it,
and what was made by them: the generation of each such robot changes.
"""

from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.engine import Connection

from treescale.errors import IdTokenInvalid
from treescale.metadata.accounts import void
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.identity.records import Issuer, Robot
from treescale.metadata.identity.robots import add_exchanged, no_issuer_to_remove, unknown_issuer
from treescale.metadata.schema import id_token_uses, issuers, robots, trust_rules

PRUNED_AT_ONCE: Final = 100
KEPT_SECONDS: Final = 600.0
"""How long a use is kept beyond the end of its token: more than clocks may be apart."""

_THIS: Final = issuers.c.issuer == bindparam("this")
GET: Final = select(issuers).where(_THIS)
LIST: Final = (
    select(issuers)
    .where(issuers.c.issuer > bindparam("after"))
    .order_by(issuers.c.issuer)
    .limit(bindparam("limit"))
)
_ADD: Final = insert_or_ignore(issuers, computed={"created": DatabaseNow()})
_SET_JWKS: Final = update(issuers).where(_THIS).values(jwks=bindparam("new_jwks"))
_REMOVE: Final = delete(issuers).where(_THIS)
WHO_TRUSTS: Final = (
    select(trust_rules.c.robot_id).distinct().where(trust_rules.c.issuer == bindparam("this"))
)
HOLD_ROBOT: Final = (
    select(robots.c.robot_id)
    .where(robots.c.robot_id == bindparam("robot"))
    .with_for_update(read=True, key_share=True)
)
_USED: Final = id_token_uses.c.fingerprint == bindparam("this")
GET_USE: Final = select(id_token_uses.c.robot_id).where(_USED)
HOLD_USE: Final = select(id_token_uses).where(_USED).with_for_update()
_USE: Final = insert_or_ignore(id_token_uses)
_EXCHANGE: Final = update(id_token_uses).where(_USED).values(exchanged=True)
OVER: Final = (
    select(id_token_uses.c.fingerprint)
    .where(id_token_uses.c.expires <= bindparam("before"))
    .order_by(id_token_uses.c.expires)
    .limit(PRUNED_AT_ONCE)
)
_FORGET: Final = delete(id_token_uses).where(_USED)


class Issuers:
    """Those that administrators have allowed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, issuer: str, jwks: str | None, *, actor: str) -> bool:
        """Have its ID tokens be believed, by these keys or by those that it publishes.

        Of one that is there the keys are replaced. Return whether it is new.
        """

        def work(connection: Connection) -> bool:
            is_new = changed(connection, _ADD.on(connection), {"issuer": issuer, "jwks": jwks}) == 1
            if not is_new:
                connection.execute(_SET_JWKS, {"this": issuer, "new_jwks": jwks})
                _void_all(connection, issuer)
            told = {"issuer": issuer, "keys": "published" if jwks is None else "given"}
            record(connection, Event(Kind.ISSUER_ADDED, actor, payload=told))
            return is_new

        return await self._connections.write(work)

    async def get(self, issuer: str) -> Issuer:
        """Return it; raises IssuerUnknown."""
        row = await self._connections.row(GET, {"this": issuer})
        if row is None:
            raise unknown_issuer(issuer)
        return _issuer(row)

    async def page(self, after: str, limit: int) -> list[Issuer]:
        """Return a page by URL."""
        rows = await self._connections.rows(LIST, {"after": after, "limit": limit})
        return [_issuer(row) for row in rows]

    async def remove(self, issuer: str, *, actor: str) -> int:
        """Remove it, and the rules that name it; return how many robots had one.

        Raises IssuerUnknown.
        """

        def work(connection: Connection) -> int:
            robots = _void_all(connection, issuer)
            if changed(connection, _REMOVE, {"this": issuer}) == 0:
                raise no_issuer_to_remove(issuer)
            told = {"issuer": issuer, "robots": robots}
            record(connection, Event(Kind.ISSUER_REMOVED, actor, payload=told))
            return robots

        return await self._connections.write(work)


class IdTokenUses:
    """Which robot an ID token was first used for, until it ends."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def bind(self, fingerprint: str, robot: Robot, *, expires: float, now: float) -> None:
        """Have a token be the robot's from now on; raises IdTokenInvalid when it is another's."""
        row = await self._connections.row(GET_USE, {"this": fingerprint})
        if row is None:

            def work(connection: Connection) -> None:
                _bind(connection, fingerprint, robot, expires)
                _prune(connection, now)

            await self._connections.write(work)
        elif row.robot_id != robot.robot_id:
            raise _is_anothers()

    async def exchange(
        self,
        fingerprint: str,
        robot: Robot,
        secret: tuple[str, str],
        *,
        expires: float,
        now: float,
        until: float,
    ) -> None:
        """Take a token once, for a secret of the robot that ends at `until`; see `add_exchanged`.

        Raises IdTokenInvalid when it was taken before, or is another robot's.
        """

        def work(connection: Connection) -> None:
            _bind(connection, fingerprint, robot, expires)
            held = connection.execute(HOLD_USE, {"this": fingerprint}).one()
            if held.exchanged:
                raise IdTokenInvalid("the ID token was exchanged before: have a new one made")
            connection.execute(_EXCHANGE, {"this": fingerprint})
            add_exchanged(connection, robot, secret, now=now, until=until)
            _prune(connection, now)

        await self._connections.write(work)


def _bind(connection: Connection, fingerprint: str, robot: Robot, expires: float) -> None:
    """Have the token be the robot's; raises IdTokenInvalid when it is another's."""
    if connection.execute(HOLD_ROBOT, {"robot": robot.robot_id}).first() is None:
        raise IdTokenInvalid(f"the robot {robot.login} is there no more")
    row = {
        "fingerprint": fingerprint,
        "robot_id": robot.robot_id,
        "exchanged": False,
        "expires": expires,
    }
    if changed(connection, _USE.on(connection), row):
        return
    if connection.execute(GET_USE, {"this": fingerprint}).scalar_one() != robot.robot_id:
        raise _is_anothers()


def _prune(connection: Connection, now: float) -> None:
    """Forget some of what is over: more than comes into being."""
    for over in connection.execute(OVER, {"before": now - KEPT_SECONDS}).scalars().all():
        connection.execute(_FORGET, {"this": over})


def _void_all(connection: Connection, issuer: str) -> int:
    """Void what robots were given by this issuer's tokens; return how many may have been."""
    robots = sorted(connection.execute(WHO_TRUSTS, {"this": issuer}).scalars())
    for robot in robots:
        void(connection, f"token:{robot}")
    return len(robots)


def _issuer(row: Row[Any]) -> Issuer:
    return Issuer(row.issuer, row.jwks, row.created)


def _is_anothers() -> IdTokenInvalid:
    return IdTokenInvalid("the ID token was used for another robot: have one made for each")
