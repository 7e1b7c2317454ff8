"""Robots and their trust rules: what administration does with them.

A secret leaves here once, when it is made. Whether the caller may is asked of `auth.policy` by
whoever calls; a command on the database may.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from treescale.auth.access_tokens import RANDOM_BYTES, robot_secret_text, secret_sha256
from treescale.auth.roles import EVERY_REPOSITORY
from treescale.auth.scopes import Action, Right, TokenScope
from treescale.auth.trust_rules import rule_of
from treescale.errors import RequestInvalid
from treescale.metadata.database import Database
from treescale.metadata.identity.records import NewRobot, Robot, Secret, TrustRule
from treescale.metadata.identity.robots import Robots
from treescale.oci.names import check_robot
from treescale.registry.organisations import check_glob

ID_BYTES: Final = 6
OLD_SECRET_SECONDS: Final = 24 * 3600.0
"""For how long the secret before stays good, unless somebody says that it must not."""
PAGE_SIZE: Final = 500
SCOPES: Final = frozenset({TokenScope.API, TokenScope.EVENTS})
RIGHTS: Final = "pull, push, delete, api, events"
"""Of a robot."""
"""What a robot may have beside its actions."""
MADE: Final = frozenset({Action.PULL, Action.PUSH})
"""What a robot may do of which nobody says it."""


@dataclass(frozen=True, slots=True)
class RobotTerms:
    """What a robot is to be: its name, its reach, and for how many seconds it lasts."""

    name: str
    allow: frozenset[Right] = MADE
    repository: str = EVERY_REPOSITORY
    lasts_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RobotDetails:
    """A robot with its secrets, those that have not ended, and its trust rules."""

    robot: Robot
    secrets: list[Secret]
    rules: list[TrustRule]


class RobotService:
    """Makes, rotates and removes robots, and says whose ID tokens are theirs.

    Everything raises NamespaceUnknown for a namespace that is nobody's, and RobotUnknown for a
    robot that is not there.
    """

    def __init__(
        self, database: Database, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._robots = Robots(database.connections)
        self._now = database.servers.now
        self._random = random

    async def add(self, namespace: str, terms: RobotTerms, *, actor: str) -> tuple[str, Robot]:
        """Return a new robot's secret, which is never seen again, and what is kept of it.

        Raises NameInvalid, RequestInvalid, RobotExists, Refused.
        """
        check_robot(terms.name)
        check_allow(terms.allow)
        check_glob(namespace, terms.repository)
        secret = self._secret()
        expires = None
        if terms.lasts_seconds is not None:
            expires = await self._now() + terms.lasts_seconds
        allow = frozenset(right.value for right in terms.allow)
        robot_id = self._random(ID_BYTES).hex()
        new = NewRobot(robot_id, terms.name, allow, terms.repository, expires)
        await self._robots.add(namespace, new, secret_sha256(secret), actor=actor)
        return secret, await self._robots.get(namespace, terms.name)

    async def get(self, namespace: str, name: str) -> Robot:
        """Return one."""
        return await self._robots.get(namespace, name)

    async def show(self, namespace: str, name: str) -> RobotDetails:
        """Return one with all that it logs in by."""
        robot, now = await self._robots.get(namespace, name), await self._now()
        secrets_of_it = await self._robots.secrets(robot.robot_id)
        good = [one for one in secrets_of_it if one.expires is None or one.expires > now]
        return RobotDetails(robot, good, await self._robots.rules(robot.robot_id))

    async def page(self, namespace: str, after: str, limit: int) -> list[Robot]:
        """Return a page of a namespace's robots, by name."""
        return await self._robots.page(namespace, after, limit)

    async def each(self, namespace: str) -> AsyncIterator[Robot]:
        """Yield all robots of a namespace, by name."""
        after = ""
        while page := await self._robots.page(namespace, after, PAGE_SIZE):
            for one in page:
                yield one
            after = page[-1].name

    async def rotate(self, namespace: str, name: str, *, actor: str, at_once: bool = False) -> str:
        """Return another secret; the last one stays good for a day, or for no longer `at_once`."""
        secret = self._secret()
        old_until = None if at_once else await self._now() + OLD_SECRET_SECONDS
        await self._robots.rotate(
            namespace, name, secret_sha256(secret), old_until=old_until, actor=actor
        )
        return secret

    async def remove(self, namespace: str, name: str, *, actor: str) -> None:
        """Remove one: what it was given is void within a minute everywhere."""
        await self._robots.remove(namespace, name, actor=actor)

    async def trust(
        self,
        namespace: str,
        name: str,
        issuer: str,
        claims: Mapping[str, str],
        *,
        actor: str,
        preset: str = "",
    ) -> TrustRule:
        """Have ID tokens of an issuer that say this be the robot's, as a password.

        Raises RequestInvalid for a rule that would take those of strangers, and IssuerUnknown.
        """
        issuer, wanted = rule_of(issuer, claims, preset)
        rule_id = self._random(ID_BYTES).hex()
        await self._robots.trust(namespace, name, (rule_id, issuer, wanted), actor=actor)
        return TrustRule(rule_id, issuer, wanted, await self._now())

    async def distrust(self, namespace: str, name: str, rule_id: str, *, actor: str) -> None:
        """Remove a rule: what was given by it is void within a minute everywhere."""
        await self._robots.distrust(namespace, name, rule_id, actor=actor)

    def _secret(self) -> str:
        return robot_secret_text(self._random(RANDOM_BYTES))


def check_allow(allow: frozenset[Right]) -> None:
    """Raise RequestInvalid for rights that no robot can have."""
    if not allow:
        raise RequestInvalid(f"a robot must be allowed something: {RIGHTS}")
    other = [
        right.value for right in allow if isinstance(right, TokenScope) and right not in SCOPES
    ]
    if other:
        raise RequestInvalid(f"no robot is for {other[0]}: make an access token of a user")
