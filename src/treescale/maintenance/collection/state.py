"""Whether a cluster collects, and where the collection of a store stands. Pure.

While a setting that says so cannot be read nothing is taken, rows or files.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Final, Protocol

import msgspec

from treescale.lease_times import (
    COLLECTION_SETTING,
    FROZEN,
    LEASE_SETTING,
    OFF,
    ON,
    READ_ONLY_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
    unreadable,
)


class Mode(StrEnum):
    """Whether anything is collected in this cluster."""

    OFF = OFF
    ON = ON
    FROZEN = FROZEN


DECIDING: Final = (
    LEASE_SETTING,
    COLLECTION_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
    READ_ONLY_SETTING,
)
"""The settings that say what is taken away, and when."""

DEFAULT_MODE: Final = Mode.ON
"""Of a cluster that has not said otherwise."""


class Pause(msgspec.Struct, frozen=True):
    """Why nothing is taken away, and what has it go on."""

    why: str
    lifted_by: str

    @property
    def told(self) -> str:
        """Return both in a line."""
        return f"{self.why}; lifted by: {self.lifted_by}"


READ_ONLY: Final = Pause("the cluster is read-only", "`treescale cluster set read_only=off`")
PAUSES: Final[Mapping[Mode, Pause]] = {
    Mode.OFF: Pause("somebody has stopped it", "`treescale cluster set collection=on`"),
    Mode.FROZEN: Pause(
        "the database was restored from a backup", "treescale collect --after-restore"
    ),
}


def mode_of(setting: str | None) -> Mode:
    """Return what the setting says; of one that a later version has made, that all stands still."""
    if setting is None:
        return DEFAULT_MODE
    return Mode(setting) if setting in set(Mode) else Mode.FROZEN


class ReadSettings(Protocol):
    """Settings by name: `metadata.layouts.Settings`."""

    async def several(self, names: Collection[str]) -> dict[str, str]:
        """Return those of these that are set, as they are at one moment."""
        ...


async def paused_by(settings: ReadSettings) -> Pause | None:
    """Return why nothing may be taken away, as far as the cluster's settings say."""
    found = await settings.several(DECIDING)
    for one in unreadable(found):
        return Pause(one.why, one.mended_by)
    if found.get(READ_ONLY_SETTING, OFF) != OFF:
        return READ_ONLY
    return PAUSES.get(mode_of(found.get(COLLECTION_SETTING)))


class Explained(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the number of collected chunks was at cycles that took all they found: two of them.

    What was collected before the older one is gone from the store: the newer cycle was a lease
    after it.
    """

    older: int = -1
    newer: int = -1
    newer_at: float = 0.0
    """By the database's clock."""
    older_taken: int = 0
    """Chunks that were taken since the older one, as far as they were explained."""
    newer_taken: int = 0
    """The same since the newer one."""

    def chunks(self, collected: int) -> int:
        """Return how many chunks of the cluster deletions may have left in no row."""
        return max(0, collected - self.older) if self.older >= 0 else 0

    def taking(self, taken: int) -> "Explained":
        """Return what is known after so many explained ones were taken: they explain no more."""
        return msgspec.structs.replace(
            self,
            older_taken=self.older_taken + taken,
            newer_taken=self.newer_taken + taken,
        )

    def after(self, collected: int, now: float, lease: float) -> "Explained":
        """Return what is known after a cycle that took all it found."""
        if self.newer < 0 or collected < self.newer:
            return Explained(collected, collected, now)
        if 0 <= now - self.newer_at < lease:  # else it is over, or a clock was set back since
            return self
        return Explained(self.newer, collected, now, older_taken=self.newer_taken)


Moment = Annotated[float, msgspec.Meta(ge=0.0, le=1e11)]
"""In seconds; of a row that was written by hand with another nothing is known."""


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the collection of a store stands, as `cluster status` shows it. Times are UTC."""

    paused: Pause | None = None
    waiting: int = 0
    """Copies that no blob names, and whose lease runs: of a push under way, or left behind."""
    waiting_bytes: int = 0
    waiting_until: Moment = 0.0
    """When the last of them may have gone for good, if nobody names it."""
    trash: int = 0
    trash_bytes: int = 0
    trash_until: Moment = 0.0
    """When the last of what lies in the trash will have gone."""
    removed: int = 0
    """Copies that were moved to the trash, since the database knows of the store."""
    removed_bytes: int = 0
    explained: Explained = Explained()
    met_in_trash: int = 0
    """Chunks that a row named, and that no store had but in its trash. It must be 0."""


_SAME_SECONDS: Final = 120.0


def is_news(state: State, said: State) -> bool:
    """Say whether anything but a few seconds of the times is another than was said."""
    near = {
        name: getattr(said, name)
        for name in ("waiting_until", "trash_until")
        if abs(getattr(state, name) - getattr(said, name)) < _SAME_SECONDS
    }
    return msgspec.structs.replace(state, **near) != said


def packed(state: State) -> str:
    """Return it as text."""
    return msgspec.json.encode(state).decode()


def unpacked(text: str | None) -> State:
    """Return what was noted; nothing of what a later version says otherwise."""
    try:
        return msgspec.json.decode(text or "{}", type=State)
    except msgspec.DecodeError:
        return State()
