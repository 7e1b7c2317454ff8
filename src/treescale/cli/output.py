"""How commands answer: tables for people, tab-separated lines for pipes, JSON when asked for.

A row is a mapping; its columns say what its values are. Pipes and JSON get exact values (bytes as
numbers, times in ISO 8601), people get rounded ones. JSON may hold more than the table shows.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

Row = Mapping[str, object]
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_STEP: Final = 1000
_BAR: Final = 10
_ID_SHOWN: Final = 12
_WHOLE_MAX: Final = 24
"""Names, ids and bars up to this long are never broken, however narrow the terminal."""


class Kind(Enum):
    """What a column's values are, which decides how people see them."""

    TEXT = "text"
    COUNT = "count"
    BYTES = "bytes"
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


class Output:
    """Where a command's answer goes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def rows(self, columns: Sequence[Column], rows: Iterable[Row], label: str = "") -> None:
        """Show a list; `label` stands first in each line of a pipe, to tell lists apart."""
        if self.as_json:
            _emit_json([_exact_row(row) for row in rows])
        elif for_people():
            Console().print(_table(columns, rows))
        else:
            for row in rows:
                cells = [plain(row.get(column.key)) for column in columns]
                click.echo("\t".join([label, *cells] if label else cells))

    def one(self, columns: Sequence[Column], row: Row) -> None:
        """Show one thing, a line for each of its values."""
        if self.as_json:
            _emit_json(_exact_row(row))
        elif for_people():
            table = Table.grid(padding=(0, 2))
            for column in columns:
                cell = Text(rounded(row.get(column.key), column))
                table.add_row(Text(_heading(column), style="bold"), cell)
            Console().print(table)
        else:
            for column in columns:
                click.echo(f"{column.key}\t{plain(row.get(column.key))}")

    def note(self, sentence: str) -> None:
        """Say how an answer is to be taken: on standard error, out of the way of pipes."""
        if not self.as_json:
            click.echo(sentence, err=True)

    def done(self, sentence: str, row: Row) -> None:
        """Say that something was done; in JSON, what it was done to."""
        if self.as_json:
            _emit_json(_exact_row(row))
        else:
            click.echo(sentence)


def for_people() -> bool:
    """Return whether somebody reads along."""
    return sys.stdout.isatty()


def plain(value: object) -> str:
    """Return an exact value on one line, without tabs."""
    value = _exact(value)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(plain(one) for one in value)
    return " ".join(str(value).split())


def rounded(value: object, column: Column) -> str:
    """Return a value as people like to read it."""
    if value is None:
        return column.empty
    if column.kind in _FORMATS and isinstance(value, int | float):
        return _FORMATS[column.kind](value)
    if column.kind is Kind.ID:
        return str(value)[:_ID_SHOWN]
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return plain(value)


def size(count: int) -> str:
    """Return a number of bytes with three digits and a unit (powers of 1000)."""
    amount, power = float(count), 0
    while amount >= _STEP and power < len(_UNITS) - 1:
        amount /= _STEP
        power += 1
    return f"{count} B" if power == 0 else f"{amount:.3g} {_UNITS[power]}"


def share(part: float) -> str:
    """Return a bar of ten characters of which this part, from 0 to 1, is full, and the percents."""
    full = round(part * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {part:4.0%}"


_FORMATS: Final[Mapping[Kind, Callable[[Any], str]]] = {
    Kind.COUNT: "{:,}".format,
    Kind.BYTES: size,
    Kind.SHARE: share,
}
"""How people see numbers."""


def time(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as a point in time (UTC)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """Return a table that leaves out nothing: narrow terminals break lines, names stay whole."""
    # Text, so that square brackets in a label are not taken for colours.
    cells = [[Text(rounded(row.get(one.key), one)) for one in columns] for row in rows]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = column.kind in (Kind.BYTES, Kind.COUNT)
        longest = max((len(row[index]) for row in cells), default=0)
        whole = index == 0 or column.kind is Kind.SHARE
        width = min(longest, _WHOLE_MAX) if whole else None
        justify: JustifyMethod = "right" if numeric else "left"
        table.add_column(_heading(column), justify=justify, overflow="fold", min_width=width)
    for row in cells:
        table.add_row(*row)
    return table


def _heading(column: Column) -> str:
    words = column.key.replace("_", " ")
    return f"{words} (UTC)" if column.kind is Kind.TIME else words


def _exact(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    return value


def _exact_row(row: Row) -> dict[str, object]:
    return {
        key: [_exact_row(one) if isinstance(one, Mapping) else _exact(one) for one in value]
        if isinstance(value, list | tuple)
        else _exact(value)
        for key, value in row.items()
    }


def _emit_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
