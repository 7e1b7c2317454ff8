"""How long events are kept: the cluster's setting `events`, a time or a number. Pure.

What is audited is kept for longer, by the setting `audit`: a time alone, which nobody can make so
short that what was done lately is gone with it.
"""

from dataclasses import dataclass
from typing import Final

from treescale.errors import SettingInvalid
from treescale.lease_times import parse_seconds

SETTING: Final = "events"
KEEP: Final = "keep"
DAYS: Final = 30
SECONDS_MIN: Final = 3600.0
COUNT_MIN: Final = 1000
COUNT_DIGITS_MAX: Final = 19
AUDIT_SETTING: Final = "audit"
AUDIT_DAYS: Final = 365
AUDIT_SECONDS_MIN: Final = 30 * 86400.0
YEARS_DIGITS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept: events of the last so many seconds, or the last so many; None: all."""

    seconds: float | None = None
    count: int | None = None


DEFAULT: Final = Retention(seconds=DAYS * 86400.0)
EVERYTHING: Final = Retention()


def parse_retention(text: str) -> Retention:
    """Return what a setting says; raises SettingInvalid."""
    if text == KEEP:
        return EVERYTHING
    if text.isascii() and text.isdecimal():
        count = int(text) if len(text) <= COUNT_DIGITS_MAX else 2**63
        if not COUNT_MIN <= count < 2**63:
            raise SettingInvalid(f"{SETTING}={text[:40]} is outside of {COUNT_MIN} to 2^63 events")
        return Retention(count=count)
    try:
        seconds = parse_seconds(text)
    except SettingInvalid as error:
        raise SettingInvalid(
            f"{error}; {SETTING} is a time such as 30d, a number of events, or {KEEP}"
        ) from None
    if seconds < SECONDS_MIN:
        raise SettingInvalid(f"{SETTING}={text} is too short: say 1h or more, or {KEEP}")
    return Retention(seconds=seconds)


def parse_audit(text: str) -> float | None:
    """Return for how many seconds audited events are kept, None: for ever; raises SettingInvalid.

    `1y` is 365 days.
    """
    if text == KEEP:
        return None
    try:
        years = text.removesuffix("y")
        days = f"{int(years) * AUDIT_DAYS}d" if years != text and _is_number(years) else text
        seconds = parse_seconds(days)
    except SettingInvalid as error:
        raise SettingInvalid(
            f"{error}; {AUDIT_SETTING} is a time such as 180d or 1y, or {KEEP}"
        ) from None
    if seconds < AUDIT_SECONDS_MIN:
        raise SettingInvalid(
            f"{AUDIT_SETTING}={text} is too short: say {AUDIT_SECONDS_MIN / 86400:g}d or more"
        )
    return seconds


def audit_seconds(text: str | None) -> float | None:
    """Return what servers go by: of what cannot be read nothing is removed."""
    try:
        return AUDIT_DAYS * 86400.0 if text is None else parse_audit(text)
    except SettingInvalid:
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= YEARS_DIGITS_MAX


def retention_of(text: str | None) -> Retention:
    """Return what servers go by: of what cannot be read nothing is removed."""
    try:
        return DEFAULT if text is None else parse_retention(text)
    except SettingInvalid:
        return EVERYTHING
