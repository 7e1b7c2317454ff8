"""What all servers go by: the layouts, whose number is the lock, and settings by name."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    LargeBinary,
    Row,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.engine import Connection

from treescale.errors import Corrupt
from treescale.lease_times import (
    DIGITS_MAX,
    KEPT_SECONDS_MAX,
    LEASE_SECONDS,
    LEASE_SETTING,
    UNDELETE_SECONDS,
    UNDELETE_SETTING,
    UNITS,
    UNSAFE_SECONDS_MIN,
    UNTAGGED_SETTING,
    shown,
)
from treescale.log import get_logger
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import (
    insert_or_ignore,
    insert_or_update,
    insert_or_update_if,
)
from treescale.metadata.events import Event, Kind, record
from treescale.metadata.records import LayoutRecord, LayoutStore
from treescale.metadata.schema import chunks, layouts, owed, settings, upload_parts

LIST: Final = select(layouts).order_by(layouts.c.number.desc()).limit(bindparam("limit"))
LATEST: Final = select(layouts.c.number).order_by(layouts.c.number.desc()).limit(1)
_PROPOSE: Final = insert_or_ignore(layouts, returning=layouts.c.number)
_STORES: Final = msgspec.json.Decoder(tuple[LayoutStore, ...])

DIGITS: Final = "0123456789"
NOTED_DIGITS_MAX: Final = 11
"""Of a number that servers note among the settings: every time in seconds is a date."""
_NUMBER: Final = re.compile(rf"0*[0-9]{{1,{NOTED_DIGITS_MAX}}}(\.[0-9]{{1,6}})?")
_TOLD_MAX: Final = 32


def noted_number(name: str, text: str | None) -> float | None:
    """Return the number that servers have noted under the name of a setting; None for none.

    Any other text, written by hand, is none either, and is logged once: whoever reads it takes
    what is safe when nobody knows.
    """
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    _tell_of(name, text)
    return None


@lru_cache(_TOLD_MAX)
def _tell_of(name: str, text: str) -> None:
    get_logger().warning("setting.unreadable", name=name, value=shown(text), taken_for="not known")


def has_digits(length: int) -> ColumnElement[bool]:
    """Return whether a setting has the form in which a number is sorted as text: so long."""
    digits = func.replace(settings.c.value, ".", "")
    return and_(func.length(settings.c.value) == length, func.ltrim(digits, DIGITS) == "")


# The first to note it sees whether others, who do not, were there before: then 0, "not known".
_NOTE: Final = insert_or_update_if(
    settings, ["value"], {}, lambda new: settings.c.value > new.value
)
_LAYOUT_DIGITS: Final = 10
_SETTLE: Final = insert_or_update_if(
    settings,
    ["value"],
    {},
    lambda new: or_(settings.c.value < new.value, not_(has_digits(_LAYOUT_DIGITS))),
)
OLDEST_SETTING: Final = "oldest_layout"
_NOTED: Final = select(settings.c.value).where(settings.c.name == OLDEST_SETTING).scalar_subquery()
_FIRST: Final = literal(b"", LargeBinary())
_ANYTHING: Final = or_(
    exists(select(chunks.c.chunk).where(chunks.c.chunk >= _FIRST)),
    exists(select(owed.c.chunk).where(owed.c.chunk >= _FIRST)),
    exists(select(upload_parts.c.part).where(upload_parts.c.upload_id > "")),
)
_USED: Final = select(_NOTED.label("noted"), _ANYTHING.label("anything"))

GET_SETTING: Final = select(settings.c.value).where(settings.c.name == bindparam("this"))
_GET_SETTINGS: Final = select(settings).where(
    settings.c.name.in_(bindparam("these", expanding=True))
)
_PUT_SETTING: Final = insert_or_update(settings, ["value"])
REMOVE_SETTING: Final = delete(settings).where(settings.c.name == bindparam("this"))


FOR_EVER_SECONDS: Final = 3e16
"""So long what nothing holds is kept by default, and while `untagged` cannot be read."""


def seconds_setting(
    name: str,
    default: float,
    otherwise: float,
    *,
    least: float = 0.0,
    most: float = KEPT_SECONDS_MAX,
) -> ColumnElement[float]:
    """Return a setting that is a time, `24h`, as the statement finds it, in seconds.

    Read as `parse_seconds` reads it; `otherwise` is what any other text, or time, means. What
    decides in a transaction whether something is kept reads it in that transaction.
    """
    value = func.trim(settings.c.value)
    unit = func.ltrim(value, DIGITS)
    digits = func.rtrim(value, "".join(UNITS))
    seconds_of = case(UNITS, value=unit)
    is_time = and_(seconds_of.is_not(None), func.length(digits).between(1, DIGITS_MAX))
    seconds = cast(digits, Double) * seconds_of
    other: ColumnElement[float] = literal(otherwise, Double())
    # One after the other: what is no number must not be taken for one.
    read = case((not_(is_time), other), (seconds.between(least, most), seconds), else_=other)
    found = select(read).where(settings.c.name == name).scalar_subquery()
    return func.coalesce(found, literal(default, Double()))


def lease_seconds() -> ColumnElement[float]:
    """Return what all of `LeaseTimes` but the lease itself follows from, its `basis`.

    That is the cluster's lease, and a day where that is longer, or cannot be read.
    """
    day = LEASE_SECONDS
    return seconds_setting(LEASE_SETTING, day, day, least=UNSAFE_SECONDS_MIN, most=day)


def undelete_seconds() -> ColumnElement[float]:
    """Return how long what was deleted can be restored; a hundred years if nobody can tell."""
    return seconds_setting(UNDELETE_SETTING, UNDELETE_SECONDS, KEPT_SECONDS_MAX)


def untagged_seconds() -> ColumnElement[float]:
    """Return for how long what nothing holds is kept; a billion years when it is for ever."""
    least, never = UNSAFE_SECONDS_MIN, FOR_EVER_SECONDS
    return seconds_setting(UNTAGGED_SETTING, never, never, least=least)


class OldestLayout:
    """What one process has noted of the layouts by which chunks were placed."""

    def __init__(self) -> None:
        self._noted: int | None = None

    def note(self, connection: Connection, number: int | None) -> None:
        """Note the number in a transaction that builds on chunks placed by it, before its rows.

        As a rule that is known, and costs nothing; `done` says that the transaction counts.
        """
        if number is None or (self._noted is not None and self._noted <= number):
            return
        found = connection.execute(_USED).one()
        if found.noted is not None and _layout_noted(found.noted) <= number:
            return
        unknown = found.noted is None and found.anything
        row = {"name": OLDEST_SETTING, "value": _layout_text(0 if unknown else number)}
        connection.execute(_NOTE.on(connection), row)

    def done(self, number: int | None) -> None:
        """Know that the number is noted, durably."""
        if number is not None:
            self._noted = number if self._noted is None else min(number, self._noted)


class Layouts:
    """The layouts, numbered from 1. None is ever changed or taken back."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def latest(self) -> LayoutRecord | None:
        """Return the one in force, None before the first."""
        found = await self.list(1)
        return found[0] if found else None

    async def list(self, limit: int) -> list[LayoutRecord]:
        """Return the newest `limit`, newest first."""
        return [_layout(row) for row in await self._connections.rows(LIST, {"limit": limit})]

    async def oldest_used(self) -> int | None:
        """Return the lowest number of a layout by which anything was placed.

        `Blobs.commit` and `Uploads.advance` note it. 0 before anything was placed; None when
        that is not known: an older version has placed something.
        """
        row = await self._connections.row(_USED)
        assert row is not None
        if row.noted is None:
            return None if row.anything else 0
        return _layout_noted(row.noted) or None

    async def settle(self, number: int) -> None:
        """Note that whatever was placed by older layouts lies by this one now."""

        def work(connection: Connection) -> None:
            row = {"name": OLDEST_SETTING, "value": _layout_text(number)}
            connection.execute(_SETTLE.on(connection), row)

        await self._connections.write(work)

    async def propose(self, layout: LayoutRecord, *, actor: str) -> bool:
        """Put it in force when its number is the next; else False, and nothing changes.

        Of several callers that decide at once exactly one wins; the others look again.
        """
        row = {
            "number": layout.number,
            "copies": layout.copies,
            "created": layout.created,
            "stores": msgspec.json.encode(layout.stores).decode(),
        }
        told = {
            "number": layout.number,
            "copies": layout.copies,
            "stores": len(layout.stores),
        }

        def work(connection: Connection) -> bool:
            before = connection.execute(LATEST).scalar_one_or_none() or 0
            if layout.number != before + 1:
                return False
            # Another may have taken the number since, where writers are not alone.
            made = connection.execute(_PROPOSE.on(connection), row)
            if made.scalar_one_or_none() is None:
                return False
            record(connection, Event(Kind.LAYOUT_CHANGED, actor, payload=told))
            return True

        return await self._connections.write(work)


class Settings:
    """The cluster's settings: text by name."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, name: str) -> str | None:
        """Return the value, None when unset."""
        row = await self._connections.row(GET_SETTING, {"this": name})
        return None if row is None else str(row.value)

    async def several(self, names: Collection[str]) -> dict[str, str]:
        """Return those of these that are set, as they are at one moment."""
        rows = await self._connections.rows(_GET_SETTINGS, {"these": [*names]})
        return {row.name: row.value for row in rows}

    async def put(self, name: str, value: str) -> None:
        """Set it."""

        def work(connection: Connection) -> None:
            connection.execute(_PUT_SETTING.on(connection), {"name": name, "value": value})

        await self._connections.write(work)

    async def remove(self, name: str) -> None:
        """Leave it to the default; twice is once."""
        await self._connections.change(REMOVE_SETTING, {"this": name})


def _layout_text(number: int) -> str:
    """Return it as text that sorts as numbers do."""
    return f"{number:0{_LAYOUT_DIGITS}d}"


def _layout_noted(text: str) -> int:
    return int(noted_number(OLDEST_SETTING, text) or 0)


def _layout(row: Row[Any]) -> LayoutRecord:
    try:
        stores = _STORES.decode(row.stores)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"layout {row.number} in the database is no layout: {error}") from error
    return LayoutRecord(row.number, stores, row.copies, row.created)
