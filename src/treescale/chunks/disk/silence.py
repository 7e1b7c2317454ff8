"""When a disk counts as silent, and when it is asked again: a circuit breaker for one disk. Pure.

A disk that refuses or fails answers; one that hangs does not. It is silent to calls of one kind
when one of them has waited for the limit of its kind, and no other of that kind was answered by it
meanwhile: a disk that is only slow goes on answering. Frozen file systems read and do not write, so
the kinds are told apart. A *probe* asks a silent disk again, after a pause that grows; whatever it
answers ends the silence (faults.md section 6).
"""

from enum import IntEnum
from typing import Final


class Kind(IntEnum):
    """What a call asks of a disk."""

    READ = 0
    WRITE = 1


SILENT_SECONDS: Final = (5.0, 10.0)
"""By kind: after so long without any answer a disk is silent (faults.md section 6: a chunk read
5 s, a write attempt 10 s)."""
CALL_SECONDS_MAX: Final = 30.0
"""After so long one call is given up, whatever the disk does for others."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at the calls that wait for a disk."""
STANDSTILL_SECONDS_MIN: Final = min(SILENT_SECONDS)
"""Looks that are so far apart tell nothing of a disk: the process stood still, or hardly ran."""
PROBE_PAUSE_SECONDS_MIN: Final = 0.5
PROBE_PAUSE_SECONDS_MAX: Final = 8.0
"""Between two probes of a silent disk; doubled from one to the other."""
IDLE_SECONDS_MAX: Final = 5.0
"""A disk to which nobody has written for so long is probed too: readiness tells of it."""


def is_silent(kind: Kind, begun: float, answered: float, now: float) -> bool:
    """Say whether the disk is silent to a kind of which a call that began at `begun` still waits.

    `answered` is when it last answered a call of this kind, to any worker. Monotonic seconds.
    """
    return now - max(begun, answered) >= SILENT_SECONDS[kind]


def stood_still(looked: float, now: float) -> float:
    """Return for how long nobody looked at the calls since `looked`; 0 when that is not unusual.

    A process that was stopped, or a machine that slept, has not waited for a disk meanwhile.
    """
    passed = now - looked
    return passed - LOOK_SECONDS if passed > STANDSTILL_SECONDS_MIN else 0.0


def is_over(begun: float, now: float) -> bool:
    """Say whether a call that began at `begun` is given up by now."""
    return now - begun >= CALL_SECONDS_MAX


def is_probe_due(now: float, *, silent: bool, probe_at: float, written: float) -> bool:
    """Say whether to probe: `written` is when the disk last answered a write or a probe."""
    return now >= probe_at and (silent or now - written >= IDLE_SECONDS_MAX)


def next_pause(pause: float) -> float:
    """Return how long to wait after the next probe of a silent disk."""
    return min(PROBE_PAUSE_SECONDS_MAX, max(PROBE_PAUSE_SECONDS_MIN, 2 * pause))
