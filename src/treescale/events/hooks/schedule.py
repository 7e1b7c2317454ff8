"""When a delivery is tried again, when it is given up, and when its hook is. Pure.

    waiting ──2xx──────────────────────────> delivered
       ├──a ping, anything else─────────────> failed       of its hook that says nothing
       ├──4xx, but not 408, 425, 429────────> failed       410: and its hook is disabled
       ├──anything else, within 24 h────────> waiting, after a pause that grows
       └──anything else, later──────────────> failed

A hook of which nothing was taken for days is disabled when one more delivery has failed for good.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from treescale.metadata.events.hook_records import PING, Delivery, DeliveryState, Hook, Outcome

PAUSES_SECONDS: Final = (*(5.0 * 2**number for number in range(10)), 3600.0)
"""After each attempt, twice as long each time; an hour again and again.

A receiver that is back is told within the time that it was away, and others wait no longer for what
it had refused."""
JITTER: Final = 0.2
"""By up to this fraction a pause is longer: what failed together must not come back together."""
TRIED_SECONDS_MAX: Final = 24 * 3600.0
RETRY_AFTER_SECONDS_MAX: Final = 3600.0
HELD_BACK_SECONDS_MAX: Final = 300.0
"""For so long a delivery waits for an earlier one of its repository."""
FAILING_SECONDS_MAX: Final = 3 * 24 * 3600.0
SETTLES_MAX: Final = 5
"""A burst is sent after so many times `settle`, though it goes on."""
AT_ONCE_OF_A_HOOK: Final = 4
AT_ONCE_OF_A_FAILING_HOOK: Final = 1
AT_ONCE_OF_A_NAMESPACE: Final = 16
"""However many hooks it has: those of others go on beside what its receivers hold up."""
AT_ONCE: Final = 64
_AGAIN: Final = frozenset({408, 425, 429})
_GONE: Final = 410
_DIGITS_MAX: Final = 9


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of an attempt."""

    status: int | None
    """None: no answer."""
    seconds: float
    answer: str = ""
    retry_after: str = ""
    """The header."""


def outcome(
    tried: Tried,
    delivery: Delivery,
    waited: float,
    hook: Hook,
    now: float,
    chance: Callable[[], float],
) -> Outcome:
    """Return what becomes of a delivery that was tried once more.

    `waited` is the seconds since it was planned, `chance` gives 0 to 1.
    """
    status = tried.status
    if status is not None and 200 <= status < 300:  # noqa: PLR2004  success (RFC 9110, 15.3)
        return _ended(DeliveryState.DELIVERED, tried)
    if delivery.kind == PING:  # whoever asked for it looks at once
        return _ended(DeliveryState.FAILED, tried)
    refused = status is not None and 400 <= status < 500  # noqa: PLR2004  (RFC 9110, 15.5)
    pause = PAUSES_SECONDS[min(delivery.attempt, len(PAUSES_SECONDS) - 1)] * (1 + JITTER * chance())
    asked = min(retry_seconds(tried.retry_after, now), RETRY_AFTER_SECONDS_MAX)
    pause = max(pause, asked)
    if (refused and status not in _AGAIN) or waited + pause > TRIED_SECONDS_MAX:
        return _ended(DeliveryState.FAILED, tried, _why_disable(status, hook, now))
    return Outcome(
        DeliveryState.WAITING,
        pause,
        leave_alone=asked,
        status=status,
        answer=tried.answer,
        seconds=tried.seconds,
    )


def retry_seconds(text: str, now: float) -> float:
    """Return for how long a `Retry-After` asks to wait (RFC 9110, 10.2.3); 0 for what is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_DIGITS_MAX])
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    try:
        aware = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, aware.timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def settle_wait(settle: float, burst_age: float) -> float:
    """Return for how long a burst that began `burst_age` seconds ago waits for what follows."""
    return max(0.0, min(settle, SETTLES_MAX * settle - burst_age))


def at_once(hook: Hook) -> int:
    """Return how many of a hook may be in flight: of one that fails a single one."""
    return AT_ONCE_OF_A_HOOK if hook.failing_since is None else AT_ONCE_OF_A_FAILING_HOOK


def secrets_of(hook: Hook, now: float) -> tuple[str, ...]:
    """Return the secrets that are valid, newest first."""
    if not hook.secret:
        return ()
    old = (hook.old_secret,) if hook.old_secret and now < hook.old_secret_until else ()
    return (hook.secret, *old)


def _why_disable(status: int | None, hook: Hook, now: float) -> str:
    if status == _GONE:
        return "its receiver says that it is gone for good (410)"
    if hook.failing_since is not None and now - hook.failing_since >= FAILING_SECONDS_MAX:
        return f"nothing was taken for {FAILING_SECONDS_MAX / 86_400:g} days"
    return ""


def _ended(state: DeliveryState, tried: Tried, disable: str = "") -> Outcome:
    return Outcome(
        state,
        status=tried.status,
        answer=tried.answer,
        seconds=tried.seconds,
        disable=disable,
    )
