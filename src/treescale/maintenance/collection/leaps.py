"""Whether the database's clock may be believed when it says that something's time is over. Pure.

A clock that leaps ahead ends the time to restore of all that was deleted. Two things tell: it says
another time than the clock of the server that asks; or it has gone on, since it was looked at last,
by more than a server is ever away. The second is also what a night without a server looks like, so
it only has people wait for some hours: time to set a clock right.

Hours in which a server is at work, since nobody is told anything in others; they are noted as they
pass, so that a machine which is shut down every night comes to the end of them. What is no longer
away than it was before does not have them begin anew: it ends no time earlier than another night.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from treescale.maintenance.collection.state import Pause

LEAP_SECONDS_MAX: Final = 6 * 3600.0
"""By so much the clock may have gone on unseen, or differ from another."""
NOTED_EVERY_SECONDS: Final = 3600.0
WAIT_SECONDS: Final = 6 * 3600.0
"""With a server at work."""
WAIT_NOTED_EVERY_SECONDS: Final = 300.0
WAIT_STEP_SECONDS_MAX: Final = 2 * WAIT_NOTED_EVERY_SECONDS
"""Of a longer time between two looks nobody knows that a server was at work."""


class RowsState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is noted of the collection of rows; times are the database's."""

    looked: float = 0.0
    """When the clock was looked at; to an hour."""
    leap: float = 0.0
    """The longest leap since all was believed; 0: it is believed."""
    waited: float = 0.0
    """For how long a server was at work since that leap."""
    paused: Pause | None = None


def look(state: RowsState, now: float, own_now: float) -> RowsState:
    """Return what is to be noted: as it is, if nothing is new; `own_now` is the asking server's."""
    new = _moved(state, now)
    return msgspec.structs.replace(new, paused=_pause(new, now, own_now))


def _moved(state: RowsState, now: float) -> RowsState:
    step, leap, waited = now - state.looked, state.leap, state.waited
    if step < -LEAP_SECONDS_MAX:  # it was set back, to what it was
        return RowsState(looked=now)
    if state.looked and step > LEAP_SECONDS_MAX:
        is_usual = step <= leap + LEAP_SECONDS_MAX
        return RowsState(now, leap=max(step, leap), waited=waited if is_usual else 0.0)
    if step < (WAIT_NOTED_EVERY_SECONDS if leap else NOTED_EVERY_SECONDS):
        return state
    waited += min(step, WAIT_STEP_SECONDS_MAX)
    over = not leap or waited >= WAIT_SECONDS
    return RowsState(now) if over else RowsState(now, leap, waited)


def _pause(state: RowsState, now: float, own_now: float) -> Pause | None:
    if abs(now - own_now) > LEAP_SECONDS_MAX:
        return Pause(
            "the database's clock and that of the server that collects differ by more than "
            f"{LEAP_SECONDS_MAX / 3600:.0f} hours",
            "itself, once the wrong one is set right",
        )
    if state.leap:
        left = (WAIT_SECONDS - state.waited) / 3600
        return Pause(
            f"the database's clock went on by more than {LEAP_SECONDS_MAX / 3600:.0f} hours "
            "while no server looked at it: none was there, or it was set",
            f"itself, after {left:.1f} hours more with a server at work, when the clock is set "
            "back, or with `treescale collect --resume`",
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
