"""Whether the database's clock may be believed when it says that something's time is over. Pure.

A clock that leaps ahead ends the time to restore of all that was deleted. Two things tell: it says
another time than the clock of the server that asks; or it has gone on, since it was looked at last,
by more than a server is ever away. The second is also what a night without a server looks like, so
it only has people wait for some hours: time to set a clock right.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from treescale.maintenance.collection.state import Pause

LEAP_SECONDS_MAX: Final = 6 * 3600.0
"""By so much the clock may have gone on unseen, or differ from another."""
NOTED_EVERY_SECONDS: Final = 3600.0
WAIT_SECONDS: Final = 6 * 3600.0


class RowsState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is noted of the collection of rows; times are the database's."""

    looked: float = 0.0
    """When the clock was looked at; to an hour."""
    waits_until: float = 0.0
    """After a leap."""
    paused: Pause | None = None


def look(state: RowsState, now: float, own_now: float) -> RowsState:
    """Return what is to be noted: as it is, if nothing is new; `own_now` is the asking server's."""
    step = now - state.looked
    new = msgspec.structs.replace(state, paused=None)
    if state.looked and step > LEAP_SECONDS_MAX:
        new = msgspec.structs.replace(new, looked=now, waits_until=now + WAIT_SECONDS)
    elif step < -LEAP_SECONDS_MAX:  # it was set back, to what it was
        new = RowsState(looked=now)
    elif step > NOTED_EVERY_SECONDS:
        new = msgspec.structs.replace(new, looked=now)
    return msgspec.structs.replace(new, paused=_pause(new, now, own_now))


def _pause(state: RowsState, now: float, own_now: float) -> Pause | None:
    if abs(now - own_now) > LEAP_SECONDS_MAX:
        return Pause(
            "the database's clock and that of the server that collects differ by more than "
            f"{LEAP_SECONDS_MAX / 3600:.0f} hours",
            "itself, once the wrong one is set right",
        )
    if now < state.waits_until:
        return Pause(
            f"the database's clock went on by more than {LEAP_SECONDS_MAX / 3600:.0f} hours "
            "while no server looked at it: none was there, or it was set",
            f"itself, at {moment(state.waits_until)}, when the clock is set back, or with "
            "`treescale collect --resume`",
        )
    return None


def moment(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def packed(state: RowsState) -> str:
    """Return it as text."""
    return msgspec.json.encode(state).decode()


def unpacked(text: str | None) -> RowsState:
    """Return what was noted; nothing of what a later version says otherwise."""
    try:
        return msgspec.json.decode(text or "{}", type=RowsState)
    except msgspec.DecodeError:
        return RowsState()
