"""Robots and their secrets.

A robot hangs on its namespace's number. What takes something from it changes the generation of
`token:ID`, with its id for that of an access token, as servers of before robots read it: bearer
tokens that they were given are void there, too.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Row,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import (
    IssuerUnknown,
    Refused,
    RobotExists,
    RobotUnknown,
    TokenUnknown,
    TooMany,
)
from treescale.metadata.accounts import TOUCH_SECONDS_MIN, present, void
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.identity.records import NewRobot, Robot, Secret, TrustRule
from treescale.metadata.namespaces import ORGANISATION
from treescale.metadata.organisations import hold_known
from treescale.metadata.schema import (
    issuers,
    namespaces,
    robot_secrets,
    robots,
    trust_rules,
    users,
)

ROBOTS_MAX: Final = 500
"""Of a namespace: each is a number drawn when that goes."""
RULES_MAX: Final = 50
"""Of a robot: each is compared with every ID token."""
EXCHANGED_MAX: Final = 1000
"""Secrets made for ID tokens that are good at once, of a robot."""

_IS_SOMEBODYS: Final = or_(
    literal_column(f"namespaces.kind = '{ORGANISATION}'"),
    select(users.c.name).where(users.c.name == namespaces.c.name).exists(),
)
"""Of a user whom a server of 0.1.0 removed, nobody's robots are left to log in."""
_IS_SUSPENDED: Final = (
    select(users.c.name)
    .where(
        users.c.name == namespaces.c.name,
        users.c.suspended.is_not(None),
        namespaces.c.kind != ORGANISATION,
    )
    .exists()
)
"""What a suspended user has may do no more than the user."""
_ROBOT: Final = (
    select(
        robots,
        namespaces.c.name.label("namespace"),
        _IS_SUSPENDED.label("is_suspended"),
        present(),
    )
    .join(namespaces, namespaces.c.namespace_id == robots.c.namespace_id)
    .where(_IS_SOMEBODYS)
)
_NAMED: Final = namespaces.c.name == bindparam("in_namespace")
GET: Final = _ROBOT.where(_NAMED, robots.c.name == bindparam("this"))
LIST: Final = (
    _ROBOT.where(_NAMED, robots.c.name > bindparam("after"))
    .order_by(robots.c.name)
    .limit(bindparam("limit"))
)
FIND: Final = (
    _ROBOT.add_columns(robot_secrets.c.expires.label("secret_expires"))
    .join(robot_secrets, robot_secrets.c.robot_id == robots.c.robot_id)
    .where(robot_secrets.c.secret_sha256 == bindparam("secret"))
)
SECRETS: Final = (
    select(robot_secrets)
    .where(robot_secrets.c.robot_id == bindparam("robot"))
    .order_by(robot_secrets.c.created, robot_secrets.c.secret_sha256)
)
RULES: Final = (
    select(trust_rules)
    .where(trust_rules.c.robot_id == bindparam("robot"))
    .order_by(trust_rules.c.rule_id)
)
HOLD: Final = (
    select(robots)
    .where(robots.c.namespace_id == bindparam("row_id"), robots.c.name == bindparam("this"))
    .with_for_update()
)
COUNT: Final = (
    select(func.count()).select_from(robots).where(robots.c.namespace_id == bindparam("row_id"))
)
_ADD: Final = insert(robots).values(created=DatabaseNow())
_ADD_SECRET: Final = insert(robot_secrets).values(created=DatabaseNow())
_REMOVE: Final = delete(robots).where(robots.c.robot_id == bindparam("robot"))
_LASTING: Final = (
    robot_secrets.c.robot_id == bindparam("robot"),
    robot_secrets.c.rule_id.is_(None),
)
_DROP_OTHERS: Final = delete(robot_secrets).where(
    *_LASTING, robot_secrets.c.secret_sha256 != bindparam("kept")
)
LAST: Final = select(robot_secrets.c.secret_sha256).where(
    *_LASTING, robot_secrets.c.expires.is_(None)
)
_END: Final = (
    update(robot_secrets)
    .where(robot_secrets.c.secret_sha256 == bindparam("kept"))
    .values(expires=bindparam("until"))
)
_NOT_TOUCHED: Final = (
    robots.c.robot_id == bindparam("robot"),
    or_(robots.c.last_used.is_(None), robots.c.last_used <= bindparam("before")),
)
IS_NOT_TOUCHED: Final = select(robots.c.robot_id).where(*_NOT_TOUCHED)
TOUCH: Final = (
    update(robots)
    .where(*_NOT_TOUCHED)
    .values(last_used=bindparam("now"), last_address=bindparam("address"))
)
_TRUST: Final = insert(trust_rules).values(created=DatabaseNow())
_DISTRUST: Final = (
    delete(trust_rules)
    .where(trust_rules.c.robot_id == bindparam("robot"), trust_rules.c.rule_id == bindparam("rule"))
    .returning(trust_rules.c.issuer, trust_rules.c.claims)
)
COUNT_RULES: Final = (
    select(func.count())
    .select_from(trust_rules)
    .where(trust_rules.c.robot_id == bindparam("robot"))
)
HOLD_RULE: Final = (
    select(trust_rules.c.rule_id)
    .where(trust_rules.c.rule_id == bindparam("rule"), trust_rules.c.robot_id == bindparam("robot"))
    .with_for_update(read=True, key_share=True)
)
HOLD_ISSUER: Final = (
    select(issuers.c.issuer)
    .where(issuers.c.issuer == bindparam("issuer"))
    .with_for_update(read=True, key_share=True)
)
_PRUNE: Final = delete(robot_secrets).where(
    robot_secrets.c.robot_id == bindparam("robot"),
    robot_secrets.c.expires.is_not(None),
    robot_secrets.c.expires <= bindparam("now"),
)
COUNT_EXCHANGED: Final = (
    select(func.count())
    .select_from(robot_secrets)
    .where(robot_secrets.c.robot_id == bindparam("robot"), robot_secrets.c.rule_id.is_not(None))
)


class Robots:
    """Robots of all namespaces. A secret is known here by its SHA-256 alone."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, namespace: str, new: NewRobot, secret: str, *, actor: str) -> None:
        """Make one with its secret; raises NamespaceUnknown, RobotExists, Refused."""

        def work(connection: Connection) -> None:
            row_id = hold_known(connection, namespace).row_id
            there = connection.execute(HOLD, {"row_id": row_id, "this": new.name}).one_or_none()
            if there is not None:
                raise RobotExists(
                    f"the robot {namespace}+{new.name} exists already: "
                    f"`treescale robot rotate {namespace}+{new.name}` gives it another secret",
                    known=there.robot_id,
                )
            if connection.execute(COUNT, {"row_id": row_id}).scalar_one() >= ROBOTS_MAX:
                raise Refused(f"{namespace} has {ROBOTS_MAX} robots: remove one first")
            row = {
                "robot_id": new.robot_id,
                "namespace_id": row_id,
                "name": new.name,
                "allow": ",".join(sorted(new.allow)),
                "repository": new.repository,
                "expires": new.expires,
                "actor": actor,
            }
            connection.execute(_ADD, row)
            _add_secret(connection, new.robot_id, secret)
            told = {
                "allow": sorted(new.allow),
                "repository": new.repository,
                "expires": new.expires,
            }
            _record(connection, Kind.ROBOT_CREATED, actor, (namespace, new.name), told)

        await self._connections.write(work)

    async def get(self, namespace: str, name: str) -> Robot:
        """Return it; raises RobotUnknown."""
        row = await self._connections.row(GET, {"in_namespace": namespace, "this": name})
        if row is None:
            raise unknown(namespace, name)
        return _robot(row)

    async def page(self, namespace: str, after: str, limit: int) -> list[Robot]:
        """Return a page of a namespace's, by name."""
        page = {"in_namespace": namespace, "after": after, "limit": limit}
        return [_robot(row) for row in await self._connections.rows(LIST, page)]

    async def find(self, secret: str) -> tuple[Robot, float | None]:
        """Return whose secret this is, and when it ends; raises TokenUnknown.

        It may have ended, and so may the robot.
        """
        row = await self._connections.row(FIND, {"secret": secret})
        if row is None:
            raise TokenUnknown("no robot has this secret")
        return _robot(row), row.secret_expires

    async def secrets(self, robot_id: str) -> list[Secret]:
        """Return what is kept of a robot's secrets, oldest first; some may have ended."""
        rows = await self._connections.rows(SECRETS, {"robot": robot_id})
        return [Secret(row.created, row.expires, row.rule_id) for row in rows]

    async def rules(self, robot_id: str) -> list[TrustRule]:
        """Return a robot's trust rules."""
        rows = await self._connections.rows(RULES, {"robot": robot_id})
        return [
            TrustRule(row.rule_id, row.issuer, msgspec.json.decode(row.claims), row.created)
            for row in rows
        ]

    async def rotate(
        self, namespace: str, name: str, secret: str, *, old_until: float | None, actor: str
    ) -> None:
        """Give it another secret: the last one ends at `old_until`, others now; None: all now.

        So no more than two are good. Raises NamespaceUnknown, RobotUnknown.
        """

        def work(connection: Connection) -> None:
            robot_id = _hold_robot(connection, namespace, name)
            last = connection.execute(LAST, {"robot": robot_id}).scalar()
            kept = last if old_until is not None and last is not None else ""
            ended = changed(connection, _DROP_OTHERS, {"robot": robot_id, "kept": kept})
            if kept:
                connection.execute(_END, {"kept": kept, "until": old_until})
            _add_secret(connection, robot_id, secret)
            if ended:
                void(connection, f"token:{robot_id}")
            told = {"old_until": old_until}
            _record(connection, Kind.ROBOT_ROTATED, actor, (namespace, name), told)

        await self._connections.write(work)

    async def remove(self, namespace: str, name: str, *, actor: str) -> None:
        """Remove it and all its secrets; raises NamespaceUnknown, RobotUnknown."""

        def work(connection: Connection) -> None:
            robot_id = _hold_robot(connection, namespace, name)
            connection.execute(_REMOVE, {"robot": robot_id})
            void(connection, f"token:{robot_id}")
            _record(connection, Kind.ROBOT_REMOVED, actor, (namespace, name))

        await self._connections.write(work)

    async def touch(self, robot_id: str, *, now: float, address: str) -> None:
        """Record a use; nothing happens when it is gone. At most one write a minute."""
        these = {"robot": robot_id, "before": now - TOUCH_SECONDS_MIN}
        if await self._connections.row(IS_NOT_TOUCHED, these) is not None:
            await self._connections.change(TOUCH, {**these, "now": now, "address": address})

    async def trust(
        self, namespace: str, name: str, rule: tuple[str, str, Mapping[str, str]], *, actor: str
    ) -> None:
        """Have it be whom ID tokens name: by a rule's id, its issuer, and its claims.

        Raises NamespaceUnknown, RobotUnknown, IssuerUnknown, Refused.
        """
        rule_id, issuer, claims = rule

        def work(connection: Connection) -> None:
            robot_id = _hold_robot(connection, namespace, name)
            if connection.execute(HOLD_ISSUER, {"issuer": issuer}).first() is None:
                raise unknown_issuer(issuer)
            if connection.execute(COUNT_RULES, {"robot": robot_id}).scalar_one() >= RULES_MAX:
                raise Refused(f"{namespace}+{name} has {RULES_MAX} trust rules: use patterns")
            row = {
                "rule_id": rule_id,
                "robot_id": robot_id,
                "issuer": issuer,
                "claims": msgspec.json.encode(claims).decode(),
            }
            connection.execute(_TRUST, row)
            told = {"rule": rule_id, "issuer": issuer, "claims": {**claims}}
            _record(connection, Kind.ROBOT_TRUSTED, actor, (namespace, name), told)

        await self._connections.write(work)

    async def distrust(self, namespace: str, name: str, rule_id: str, *, actor: str) -> None:
        """Remove a rule, and what was made by it; raises NamespaceUnknown, RobotUnknown."""

        def work(connection: Connection) -> None:
            robot_id = _hold_robot(connection, namespace, name)
            these = {"robot": robot_id, "rule": rule_id}
            gone = connection.execute(_DISTRUST, these).one_or_none()
            if gone is None:
                raise RobotUnknown(
                    f"{namespace}+{name} has no trust rule {rule_id}: "
                    f"`treescale robot show {namespace}+{name}` lists them"
                )
            void(connection, f"token:{robot_id}")
            claims = msgspec.json.decode(gone.claims)
            told = {"rule": rule_id, "issuer": gone.issuer, "claims": claims}
            _record(connection, Kind.ROBOT_DISTRUSTED, actor, (namespace, name), told)

        await self._connections.write(work)


def add_exchanged(
    connection: Connection, robot: Robot, secret: tuple[str, str], *, now: float, until: float
) -> None:
    """Keep a secret that was made for an ID token by a rule, in the transaction that takes that.

    `secret` is its SHA-256 and the rule's id. Raises RobotUnknown when robot or rule are gone, and
    TooMany for more than `EXCHANGED_MAX` at once.
    """
    secret_sha256, rule_id = secret
    these = {"robot": robot.robot_id, "rule": rule_id, "now": now}
    if connection.execute(HOLD_RULE, these).first() is None:
        raise RobotUnknown(f"{robot.login} has not this trust rule any more")
    connection.execute(_PRUNE, these)
    if connection.execute(COUNT_EXCHANGED, these).scalar_one() >= EXCHANGED_MAX:
        raise TooMany(f"{robot.login} has {EXCHANGED_MAX} secrets for ID tokens", retry_seconds=60)
    _add_secret(connection, robot.robot_id, secret_sha256, rule_id=rule_id, expires=until)
    told = {"rule": rule_id, "expires": until}
    where = robot.namespace, robot.name
    _record(connection, Kind.ROBOT_EXCHANGED, robot.login, where, told)


def _add_secret(
    connection: Connection,
    robot_id: str,
    secret: str,
    *,
    rule_id: str | None = None,
    expires: float | None = None,
) -> None:
    row = {
        "secret_sha256": secret,
        "robot_id": robot_id,
        "rule_id": rule_id,
        "expires": expires,
    }
    connection.execute(_ADD_SECRET, row)


def _hold_robot(connection: Connection, namespace: str, name: str) -> str:
    row_id = hold_known(connection, namespace).row_id
    row = connection.execute(HOLD, {"row_id": row_id, "this": name}).one_or_none()
    if row is None:
        raise unknown(namespace, name)
    return str(row.robot_id)


def _record(
    connection: Connection,
    kind: Kind,
    actor: str,
    robot: tuple[str, str],
    told: Mapping[str, object] | None = None,
) -> None:
    namespace, name = robot
    payload = {"robot": f"{namespace}+{name}", **(told or {})}
    record(connection, Event(kind, actor, namespace=namespace, payload=payload))


def _robot(row: Row[Any]) -> Robot:
    return Robot(
        robot_id=row.robot_id,
        namespace=row.namespace,
        name=row.name,
        allow=frozenset(row.allow.split(",")) if row.allow else frozenset(),
        repository=row.repository,
        created=row.created,
        expires=row.expires,
        actor=row.actor,
        last_used=row.last_used,
        last_address=row.last_address,
        is_suspended=bool(row.is_suspended),
        generation=row.generation,
    )


def unknown(namespace: str, name: str) -> RobotUnknown:
    """Return what is raised for a robot that is not there."""
    return RobotUnknown(
        f"no robot {namespace}+{name}: `treescale robot list {namespace}` lists them"
    )


def unknown_issuer(issuer: str) -> IssuerUnknown:
    """Return what is raised for an issuer that no administrator allowed."""
    return IssuerUnknown(
        f"{issuer} is no issuer of ID tokens here: an administrator allows one by "
        f"`treescale issuer add {issuer}`"
    )


def no_issuer_to_remove(issuer: str) -> IssuerUnknown:
    """Return the same for whoever wants one removed."""
    return IssuerUnknown(
        f"{issuer} is no issuer of ID tokens here: `treescale issuer list` lists them, to be named "
        "letter by letter"
    )
