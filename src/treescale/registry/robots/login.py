"""How robots log in: with a secret, or keyless, with an ID token that a trust rule takes.

As a password an ID token comes again and again, for clients send what they have stored: at its
first use it becomes one robot's, and it is that one's alone until it ends. *Once* is for the
exchange, which gives a secret for `EXCHANGED_SECONDS_MAX` at most. No key is looked for anywhere
before its issuer was found among those that an administrator allowed, and the audience is
`public_url`, never what a request says of this host.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from treescale.auth.access_tokens import (
    RANDOM_BYTES,
    is_robot_secret,
    robot_secret_text,
    secret_sha256,
)
from treescale.auth.guessing import ADDRESS_CHARACTERS_MAX
from treescale.auth.id_tokens import (
    LEEWAY_SECONDS,
    Expected,
    IdToken,
    is_jwt,
    look,
    parse_jwks,
    verify_id_token,
)
from treescale.auth.policy import Principal
from treescale.auth.scopes import Action, TokenScope
from treescale.auth.trust_rules import check_event, takes
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    IdTokenInvalid,
    IssuerKeysInvalid,
    IssuerUnknown,
    RobotUnknown,
    TokenUnknown,
)
from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.identity.issuers import IdTokenUses, Issuers
from treescale.metadata.identity.records import Robot, TrustRule
from treescale.metadata.identity.robots import Robots
from treescale.oci.names import robot_parts
from treescale.registry.issuers.keys import PublishedKeys
from treescale.registry.login import note_use

EXCHANGED_SECONDS_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A robot's secret that was made for an ID token."""

    login: str
    secret: str
    seconds: int
    """For how long it is good."""


class RobotLogin:
    """Turns what robots bring into a Principal."""

    def __init__(
        self,
        database: Database,
        published: PublishedKeys,
        clock: Clock,
        *,
        audiences: tuple[str, ...] = (),
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`audiences` are what ID tokens must be for; without any none is taken."""
        self._robots = Robots(database.connections)
        self._issuers = Issuers(database.connections)
        self._uses = IdTokenUses(database.connections)
        self._published = published
        self._clock = clock
        self._audiences = audiences
        self._random = random

    async def authenticate(self, login: str, secret: str, source: str) -> Principal:
        """Return the robot; `source` is the address that it comes from.

        Raises CredentialsInvalid, and IssuerAway when no key can be had to look at an ID token.
        """
        if is_robot_secret(secret):
            return await self._by_secret(login, secret, source)
        if is_jwt(secret):
            return await self._by_id_token(login, secret, source)
        raise _wrong()

    async def exchange(self, login: str, token: str, source: str) -> Exchanged:
        """Take an ID token, once, for a secret (RFC 8693).

        Raises what `authenticate` does, and TooMany.
        """
        now = self._clock.now()
        robot, rule, proven = await self._proven(login, token)
        until = _sooner(now + EXCHANGED_SECONDS_MAX, robot.expires)
        secret = robot_secret_text(self._random(RANDOM_BYTES))
        try:
            await self._uses.exchange(
                proven.fingerprint,
                robot,
                (secret_sha256(secret), rule.rule_id),
                expires=proven.expires + LEEWAY_SECONDS,
                now=now,
                until=until,
            )
        except RobotUnknown:
            raise _not_taken(login) from None
        await self._note(robot, now, source)
        return Exchanged(robot.login, secret, int(until - now))

    async def _by_secret(self, login: str, secret: str, source: str) -> Principal:
        now = self._clock.now()
        try:
            robot, ends = await self._robots.find(secret_sha256(secret))
        except TokenUnknown:
            raise _wrong() from None
        if not hmac.compare_digest(robot.login.encode(), login.encode("utf-8", "surrogatepass")):
            raise _wrong()
        expires = robot.expires if ends is None else _sooner(ends, robot.expires)
        if robot.is_suspended or (expires is not None and expires <= now):
            raise _wrong()
        await self._note(robot, now, source)
        return _principal(robot, proven=now, expires=expires)

    async def _by_id_token(self, login: str, token: str, source: str) -> Principal:
        now = self._clock.now()
        robot, _, proven = await self._proven(login, token)
        ends = proven.expires + LEEWAY_SECONDS
        await self._uses.bind(proven.fingerprint, robot, expires=ends, now=now)
        await self._note(robot, now, source)
        return _principal(robot, proven=now, expires=robot.expires, login_ends=ends)

    async def _proven(self, login: str, token: str) -> tuple[Robot, TrustRule, IdToken]:
        """Return which robot an ID token is of, and by which rule; raises IdTokenInvalid.

        Of a robot that is not there the same is said as of one whose rules do not take it.
        """
        if not self._audiences:
            raise IdTokenInvalid(
                "no ID token is taken here: public_url is not set, which is the audience that they "
                "must have"
            )
        parts = robot_parts(login)
        if parts is None:
            raise _wrong()
        proven = await self._verified(token)
        check_event(proven.claims)
        try:
            robot = await self._robots.get(*parts)
        except RobotUnknown:
            raise _not_taken(login) from None
        rules = await self._robots.rules(robot.robot_id)
        rule = next((one for one in rules if _is_taken(one, proven)), None)
        has_ended = robot.expires is not None and robot.expires <= self._clock.now()
        if rule is None or has_ended or robot.is_suspended:
            _log_differences(robot, rules, proven)
            raise _not_taken(login)
        return robot, rule, proven

    async def _verified(self, token: str) -> IdToken:
        unproven = look(token)
        try:
            issuer = await self._issuers.get(unproven.issuer)
        except IssuerUnknown:
            raise IdTokenInvalid(
                "the ID token's issuer is none that an administrator has allowed here"
            ) from None
        if issuer.jwks is None:
            keys = await self._published.keys(issuer.issuer, unproven.key_id)
        else:
            try:
                keys = parse_jwks(issuer.jwks.encode())
            except IssuerKeysInvalid:
                raise IdTokenInvalid("the keys given for this issuer cannot be read") from None
        return verify_id_token(
            token, keys, Expected(issuer.issuer, self._audiences), self._clock.now()
        )

    async def _note(self, robot: Robot, now: float, source: str) -> None:
        address = source[:ADDRESS_CHARACTERS_MAX]
        touch = self._robots.touch(robot.robot_id, now=now, address=address)
        await note_use(touch, robot.robot_id)


def audiences_of(public_url: str) -> tuple[str, ...]:
    """Return what an ID token for this registry must be for: its URL, or its host."""
    _, _, host = public_url.partition("://")
    return (public_url, host) if host else ()


def _principal(
    robot: Robot, *, proven: float, expires: float | None, login_ends: float | None = None
) -> Principal:
    return Principal(
        robot.login,
        robot.robot_id,
        frozenset(action for action in Action if action in robot.allow),
        robot.repository,
        expires,
        proven=proven,
        generation=robot.generation,
        scopes=frozenset(scope for scope in TokenScope if scope in robot.allow),
        login_ends=login_ends,
    )


def _is_taken(rule: TrustRule, proven: IdToken) -> bool:
    return rule.issuer == proven.issuer and takes(rule.claims, proven.claims)


def _log_differences(robot: Robot, rules: list[TrustRule], proven: IdToken) -> None:
    """Say to the operator which claims keep a token of the right issuer out, by their names."""
    told: dict[str, str] = {}
    for rule in rules:
        if rule.issuer == proven.issuer:
            told[rule.rule_id] = ",".join(_different(rule.claims, proven.claims))
    get_logger().info("id_token.refused", robot=robot.login, issuer=proven.issuer, rules=told)


def _different(claims: Mapping[str, str], told: Mapping[str, object]) -> list[str]:
    return [name for name, glob in claims.items() if not takes({name: glob}, told)]


def _sooner(until: float, end: float | None) -> float:
    return until if end is None else min(until, end)


def _wrong() -> CredentialsInvalid:
    return CredentialsInvalid(
        "the robot's name or secret is wrong, or it has ended: a robot logs in as NAMESPACE+NAME, "
        "with its secret or an ID token"
    )


def _not_taken(login: str) -> IdTokenInvalid:
    return IdTokenInvalid(
        f"no trust rule of a robot {login} takes this ID token: `treescale robot show {login}` "
        "lists them"
    )
