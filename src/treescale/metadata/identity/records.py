"""What is kept of robots and of issuers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ISSUER_NETWORKS_SETTING: Final = "issuer-networks"
"""The private networks in which issuers of ID tokens may be asked for their keys."""


@dataclass(frozen=True, slots=True)
class Robot:
    """Who is no person and belongs to a namespace. Times are seconds since 1970.

    `allow` is of pull, push, delete, and of the scopes api and events; `repository` a glob that
    names must match; `actor` who made it, which matters to nothing.
    """

    robot_id: str
    namespace: str
    name: str
    allow: frozenset[str]
    repository: str
    created: float
    expires: float | None
    actor: str
    last_used: float | None = None
    last_address: str | None = None
    is_suspended: bool = False
    """Whether it is of the namespace of a user who is suspended: it may do nothing."""
    generation: int = field(default=0, compare=False)
    """The cluster's when this was read; nothing that is written."""

    @property
    def login(self) -> str:
        """Return the name that it logs in with."""
        return f"{self.namespace}+{self.name}"


@dataclass(frozen=True, slots=True)
class NewRobot:
    """What a robot is to be."""

    robot_id: str
    name: str
    allow: frozenset[str]
    repository: str
    expires: float | None


@dataclass(frozen=True, slots=True)
class Secret:
    """What a robot logs in with, but for the secret itself, which nobody keeps.

    `rule` is that by which an ID token was exchanged for it, None of one that lasts.
    """

    created: float
    expires: float | None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose ID tokens are believed. Without `jwks` its keys are where it publishes them."""

    issuer: str
    jwks: str | None
    created: float


@dataclass(frozen=True, slots=True)
class TrustRule:
    """What an ID token must say to be a robot's: of each claim a glob."""

    rule_id: str
    issuer: str
    claims: Mapping[str, str]
    created: float
