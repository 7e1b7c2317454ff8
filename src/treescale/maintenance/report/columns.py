"""What the values of a row are. How they look is another's affair (`cli/terminal/output`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

Row = Mapping[str, object]


class Kind(Enum):
    """What a column's values are, which decides how people see them."""

    TEXT = "text"
    COUNT = "count"
    BYTES = "bytes"
    RATE = "rate"
    """Bytes per second; the key may say so at its end."""
    TIME = "time"
    FLAG = "flag"
    SHARE = "share"
    """From 0 to 1; people see a bar."""
    ID = "id"
    """Random hex digits, of which the first tell it apart; commands take them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the row's key, and its values' kind; people read the key with spaces."""

    key: str
    kind: Kind = Kind.TEXT
    empty: str = ""
    """What people see for None."""


def time(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as a point in time (UTC)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def exact(value: object) -> object:
    """Return a value as scripts read it: times in ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return value


def exact_row(row: Row) -> dict[str, object]:
    """Return a row as scripts read it, with the rows that it has inside."""
    return {
        key: [exact_row(one) if isinstance(one, Mapping) else exact(one) for one in value]
        if isinstance(value, list | tuple)
        else exact(value)
        for key, value in row.items()
    }
