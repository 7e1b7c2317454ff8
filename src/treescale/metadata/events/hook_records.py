"""Webhooks and their deliveries, as values. Times are seconds since the epoch (UTC). Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOOKS_SETTING: Final = "hooks"
"""The setting with which nothing is planned or sent while it is one of `PAUSED`."""
NETWORKS_SETTING: Final = "hook-networks"
"""The setting that names private networks which hooks may lead to."""
RESTORED: Final = "paused"
"""What a restored backup has: the database that it is a copy of may send the same."""
PAUSED: Final = ("off", RESTORED)
PING: Final = "ping"
"""The kind of what a test of a hook sends: of no image, so that nothing is deployed by it."""
ALL: Final = "*"
"""The scope of a hook that hears of everything there is."""


class HookFormat(StrEnum):
    """How a delivery says what happened."""

    TREESCALE = "treescale"
    HARBOR = "harbor"
    DISTRIBUTION = "distribution"
    QUAY = "quay"
    CLASSIC = "treescale-classic"
    TEXT = "text"
    TEMPLATE = "template"


class HookState(StrEnum):
    """Whether it is asked."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    MERGED = "merged"
    """A later one of the same repository took its place (`settle`)."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook."""

    hook_id: str
    namespace: str | None
    """Whose it is; None: the administrators'."""
    scope: str
    """A namespace, a glob of repositories in it, or ALL."""
    url: str
    format: HookFormat
    secret: str
    public_url: str
    """Of the registry, as payloads name it: what the hook was made with."""
    kinds: tuple[str, ...]
    """Globs of kinds."""
    headers: tuple[tuple[str, str], ...] = ()
    template: str = ""
    """The body, for the format `template`."""
    untagged: bool = False
    """Whether it hears of pushes of a digest alone too, as those of an index's children are."""
    settle: float = 0.0
    """For so many seconds events of a repository wait for later ones, and only the last is sent."""
    old_secret: str = ""
    old_secret_until: float = 0.0
    state: HookState = HookState.ENABLED
    reason: str = ""
    """Why it is disabled."""
    sequence: int = 0
    """Up to which event its deliveries are planned."""
    failing_since: float | None = None
    created: float = 0.0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a hook is to be told of, or was."""

    delivery_id: int
    hook_id: str
    event_id: str
    """The `webhook-id`: the same however often it is sent."""
    repository: str
    """"" for an event of none: such are in order among themselves."""
    event: str
    """The event whole, as JSON: it may have left the log."""
    state: DeliveryState
    attempt: int
    """How often it was sent."""
    next_at: float
    created: float
    """Of a burst that was merged, its beginning."""
    kind: str = ""
    status: int | None = None
    answer: str = ""
    seconds: float | None = None
    updated: float | None = None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One to be stored; it is due `wait` seconds from then on."""

    event_id: str
    kind: str
    repository: str
    event: str
    wait: float = 0.0
    merges: bool = False
    """Whether it takes the place of those of its repository that were not sent yet."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt led to."""

    state: DeliveryState
    pause: float = 0.0
    """WAITING: for how many seconds until the next."""
    leave_alone: float = 0.0
    """WAITING: for how many seconds its receiver wants to be sent nothing at all."""
    status: int | None = None
    answer: str = ""
    seconds: float = 0.0
    disable: str = ""
    """Why the hook is to be disabled; "" when not."""
