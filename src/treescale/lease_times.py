"""All times of collection, which follow from one: how long a chunk is kept after its last put.

What each is for: docs/operations.md, "What is collected when". They are proven together, so
whoever changes one fraction looks at all. A lease of more than a day keeps copies for longer, and
has nobody wait longer for anything else: the other times are those of a day. Seconds throughout;
no I/O.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale.errors import SettingInvalid

LEASE_SETTING: Final = "lease"
"""Under this name the cluster's settings have it, as text: `24h`."""
COLLECTION_SETTING: Final = "collection"
"""The setting that stops all collection while it is `OFF`, or `FROZEN`: a restored backup."""
ON: Final = "on"
OFF: Final = "off"
FROZEN: Final = "frozen"
UNDELETE_SETTING: Final = "undelete"
"""How long what was deleted can be restored, and holds its bytes: `7d`; `0d`: not at all."""
UNDELETE_SECONDS: Final = 7 * 24 * 3600.0
UNTAGGED_SETTING: Final = "untagged"
"""For how long an image is kept that nothing holds, no tag, index or subject; unset: for ever."""
KEEP: Final = "keep"
"""What people say for that."""
UNTAGGED_SECONDS_MIN: Final = 24 * 3600.0
LEASE_SECONDS: Final = 24 * 3600.0
LEASE_SECONDS_MIN: Final = 3600.0
"""Less only where somebody says that nothing there is worth keeping: TREESCALE_UNSAFE_LEASES=1."""
UNSAFE_SECONDS_MIN: Final = 1.0
LEASE_SECONDS_MAX: Final = 30 * 24 * 3600.0
KEPT_SECONDS_MAX: Final = 100 * 366 * 86_400.0
"""No time is longer, so that the end of each is a date."""
SHOWN_MAX: Final = 40
"""Characters of a setting that cannot be read, as they are told."""
RECORD_SHARE: Final = 12
"""C is this part of the lease."""
LINK_LEASES: Final = 2
"""A link's lease is so many of these, and is renewed when less than one is left."""
CLOCK_STEP_SECONDS_MAX: Final = 60.0
CHECKPOINT_BYTES: Final = 1024 * 1024 * 1024
"""A push records what it has put this often, too: a crash then costs no more."""

READ_ONLY_SETTING: Final = "read_only"
"""The setting that has all stay as it is while it is not `OFF`: nothing is pushed, deleted or
collected."""
SAID_OF: Final = {
    LEASE_SETTING: "24h",
    COLLECTION_SETTING: ON,
    UNDELETE_SETTING: "7d",
    UNTAGGED_SETTING: KEEP,
    READ_ONLY_SETTING: OFF,
}
"""How people set each back to what it is without them."""
UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
DIGITS_MAX: Final = 10
"""As many as the longest time has, in seconds: so what is set can be read again."""
_DURATION: Final = re.compile(rf"([0-9]{{1,{DIGITS_MAX}}})([{''.join(UNITS)}])")
VERSIONS_BEFORE: Final = ("", "0.1.0")
"""Those whose puts of what is there renew nothing, and whose pushes record when they like."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times that follow from the lease of a copy (L): lease > renew + record + slack."""

    lease: float = LEASE_SECONDS
    """L: so long after its last put a copy is kept, whatever names it."""

    @property
    def basis(self) -> float:
        """Return what all others follow from: the lease, and at most a day of it."""
        return min(self.lease, LEASE_SECONDS)

    @property
    def renew_age(self) -> float:
        """R, 6 h: a put touches a copy that is older."""
        return self.basis / 4

    @property
    def record_within(self) -> float:
        """C, 2 h: so long after its base a row must name what was put, by the database's clock."""
        return self.basis / RECORD_SHARE

    @property
    def checkpoint(self) -> float:
        """Return how often a push records what it has put: every 15 min."""
        return self.record_within / 8

    @property
    def checkpoint_again(self) -> float:
        """Return when one that failed is tried again: after a minute."""
        return self.checkpoint / 15

    @property
    def quiet(self) -> float:
        """Q, 3 h: so long after its start, or a step of its clock, a store removes nothing."""
        return self.basis / 8

    @property
    def clock_step(self) -> float:
        """Return by how much a store's clock may step unnoticed: 60 s."""
        return min(CLOCK_STEP_SECONDS_MAX, self.basis / 24)

    @property
    def slack(self) -> float:
        """S, 16 h or more: what a clock may step back unnoticed with nothing lost."""
        return self.lease - self.renew_age - self.record_within

    @property
    def look_every(self) -> float:
        """Return how often a store's copies are compared with the rows: every hour."""
        return self.basis / 24

    @property
    def trash(self) -> float:
        """Return how long what was taken away stays in the trash: 24 h."""
        return self.basis

    @property
    def link(self) -> float:
        """Return how long a link is kept after a client was told that the blob is there: 48 h."""
        return LINK_LEASES * self.basis

    @property
    def link_min(self) -> float:
        """Return how much is left at least when a client is told so: 24 h; less is renewed."""
        return self.basis

    @property
    def session_idle(self) -> float:
        """Return after how long an upload nobody goes on with has ended: 24 h."""
        return self.basis

    def idle(self, seconds: float) -> float:
        """Return after how long an upload is idle: what the operator says, in seconds.

        But after a lease where that is one for tests, which wait for the end of everything.
        """
        return min(self.session_idle, seconds) if self.lease < LEASE_SECONDS_MIN else seconds


def parse_seconds(text: str) -> float:
    """Return how many seconds `90s`, `30m`, `24h`, `7d` or `2w` are; raises SettingInvalid."""
    found = _DURATION.fullmatch(text.strip(" "))
    if found is None:
        raise SettingInvalid(f"{shown(text)} is not a time: say 30m, 24h, 7d or 2w")
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > KEPT_SECONDS_MAX:
        raise SettingInvalid(f"{shown(text)} is more than a hundred years")
    return seconds


def shown(text: str) -> str:
    """Return a setting that cannot be read, as it is told."""
    return repr(text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…")


def parse_lease(text: str | None, *, unsafe: bool = False) -> LeaseTimes:
    """Return the times of the setting, the default's when it is unset; raises SettingInvalid.

    `unsafe` permits seconds, for tests; servers, which follow whatever was set, say it always.
    """
    if text is None:
        return LeaseTimes()
    seconds = parse_seconds(text)
    least = UNSAFE_SECONDS_MIN if unsafe else LEASE_SECONDS_MIN
    if not least <= seconds <= LEASE_SECONDS_MAX:
        raise SettingInvalid(
            f"lease={text.strip()} is outside of 1h to 30d: pushes must record what they put "
            "within a twelfth of it"
        )
    return LeaseTimes(seconds)


def parse_untagged(text: str, *, unsafe: bool = False) -> float | None:
    """Return after how many seconds what nothing holds goes, None for never.

    Raises SettingInvalid. `unsafe` permits seconds, for tests.
    """
    if text == KEEP:
        return None
    seconds = parse_seconds(text)
    if seconds < (UNSAFE_SECONDS_MIN if unsafe else UNTAGGED_SECONDS_MIN):
        raise SettingInvalid(f"{UNTAGGED_SETTING}={text} is too short: say 1d or more, or keep")
    return seconds


def lease_of(text: str | None) -> LeaseTimes:
    """Return the times that servers go by: of what cannot be read those of the longest lease.

    Nothing is collected meanwhile (`unreadable`).
    """
    try:
        return parse_lease(text, unsafe=True)
    except SettingInvalid:
        return LeaseTimes(LEASE_SECONDS_MAX)


def undelete_of(text: str | None) -> float:
    """Return how long what was deleted is kept: what cannot be read, as statements have it."""
    try:
        return UNDELETE_SECONDS if text is None else parse_seconds(text)
    except SettingInvalid:
        return KEPT_SECONDS_MAX


def untagged_of(text: str | None) -> float | None:
    """Return after how many seconds what nothing holds goes; None: never, or nobody can tell."""
    try:
        return None if text is None else parse_untagged(text, unsafe=True)
    except SettingInvalid:
        return None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A setting that cannot be read: somebody wrote it by hand."""

    name: str
    why: str
    mended_by: str
    """The command that sets it; the value is the default, or an example."""


def unreadable(found: Mapping[str, str]) -> list[Unreadable]:
    """Return those of these settings of collection that cannot be read, by name."""
    told = []
    for name, text in sorted(found.items()):
        why = _why_unreadable(name, text)
        if why:
            command = f"`treescale cluster set {name}={SAID_OF[name]}`"
            told.append(Unreadable(name, f"the setting {name} cannot be read: {why}", command))
    return told


def unreadable_collection(text: str | None) -> list[Unreadable]:
    """Return the setting `collection` if it cannot be read; None: it is not set."""
    return [] if text is None else unreadable({COLLECTION_SETTING: text})


def _why_unreadable(name: str, text: str) -> str:
    try:
        if name == LEASE_SETTING:
            parse_lease(text, unsafe=True)
        elif name == UNDELETE_SETTING:
            parse_seconds(text)
        elif name == UNTAGGED_SETTING:
            parse_untagged(text, unsafe=True)
        elif (name == COLLECTION_SETTING and text not in (ON, OFF, FROZEN)) or (
            name == READ_ONLY_SETTING and text not in (ON, OFF)
        ):
            return f"{shown(text)} is neither on nor off"
    except SettingInvalid as error:
        return str(error)
    return ""


def stored(seconds: float) -> str:
    """Return how a time stands among the settings, where statements read it, too."""
    return f"{seconds:.0f}s"
