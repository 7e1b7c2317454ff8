"""How commands answer: tables for people, tab-separated lines for pipes, JSON when asked for.

A row is a mapping; its columns say what its values are. Pipes and JSON get exact values (bytes as
numbers, times in ISO 8601), people get rounded ones. JSON may hold more than the table shows.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from treescale.cli.terminal.typed import PLAIN, Typed
from treescale.maintenance.report.columns import Column, Kind, Row, exact, exact_row

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_STEP: Final = 1000
_BROKEN_MIN: Final = 6
"""Everything else may be broken into lines of this many characters, no fewer."""
_GAP: Final = 3
"""Between two columns of a table."""
_BAR: Final = 10
_ID_SHOWN: Final = 12
_WHOLE_MAX: Final = 24
"""Names, ids and bars up to this long are never broken, however narrow the terminal."""


_PER_SECOND: Final = "_bytes_per_second"
_KEPT: Final = (Kind.SHARE, Kind.ID)


class Output:
    """Where a command's answer goes; the commands it names are put as `typed` says."""

    def __init__(self, *, as_json: bool, typed: Typed = PLAIN) -> None:
        self.as_json = as_json
        self._typed = typed

    def rows(self, columns: Sequence[Column], rows: Iterable[Row], label: str = "") -> None:
        """Show a list; `label` stands first in each line of a pipe, to tell lists apart."""
        rows = [self._typed.put_row(row) for row in rows]
        if self.as_json:
            _emit_json([exact_row(row) for row in rows])
        elif for_people():
            console, shown = Console(), list(rows)
            if _fits(columns, shown, console.width):
                console.print(_table(columns, shown))
                return
            for row in shown:
                console.print(_block(columns, row), "")
        else:
            for row in rows:
                cells = [plain(row.get(column.key)) for column in columns]
                click.echo("\t".join([label, *cells] if label else cells))

    def one(self, columns: Sequence[Column], row: Row) -> None:
        """Show one thing, a line for each of its values."""
        row = self._typed.put_row(row)
        if self.as_json:
            _emit_json(exact_row(row))
        elif for_people():
            Console().print(_block(columns, row))
        else:
            for column in columns:
                click.echo(f"{column.key}\t{plain(row.get(column.key))}")

    def note(self, sentence: str) -> None:
        """Say how an answer is to be taken: on standard error, out of the way of pipes."""
        if not self.as_json:
            click.echo(self._typed.put(sentence), err=True)

    def done(self, sentence: str, row: Row, *, beside: bool = False) -> None:
        """Say that something was done; in JSON, what it was done to.

        `beside`: on standard error, as standard output is the work itself.
        """
        sentence, row = self._typed.put(sentence), self._typed.put_row(row)
        if self.as_json:
            _emit_json(exact_row(row), beside=beside)
        else:
            click.echo(sentence, err=beside)


def for_people() -> bool:
    """Return whether somebody reads along."""
    return sys.stdout.isatty()


def plain(value: object) -> str:
    """Return an exact value on one line, without tabs."""
    value = exact(value)
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
    if column.kind is Kind.TIME and isinstance(value, str):
        value = datetime.fromisoformat(value)
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


def rate(count: int) -> str:
    """Return a number of bytes per second likewise."""
    return f"{size(count)}/s"


def share(part: float) -> str:
    """Return a bar of ten characters of which this part, from 0 to 1, is full, and the percents."""
    full = round(part * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {part:4.0%}"


_FORMATS: Final[Mapping[Kind, Callable[[Any], str]]] = {
    Kind.COUNT: "{:,}".format,
    Kind.BYTES: size,
    Kind.RATE: rate,
    Kind.SHARE: share,
}
"""How people see numbers."""


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Return a table that leaves out nothing: narrow terminals break lines, names stay whole."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        longest = _longest(column, rows)
        kept = index == 0 or column.kind in _KEPT
        table.add_column(
            _heading(column),
            justify="right" if column.kind in (Kind.BYTES, Kind.COUNT, Kind.RATE) else "left",
            overflow="fold",
            no_wrap=kept and longest <= _WHOLE_MAX,  # the others are narrowed first
            min_width=min(longest, _WHOLE_MAX) if kept else None,
        )
    for row in rows:
        table.add_row(*(_cell(column, row) for column in columns))
    return table


def _block(columns: Sequence[Column], row: Row) -> Table:
    """Return a row as lines, one for each of its values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for column in columns:
        table.add_row(_heading(column), _cell(column, row))
    return table


def _fits(columns: Sequence[Column], rows: Sequence[Row], width: int) -> bool:
    """Return whether a table of these can be read in so narrow a terminal."""
    needed = 0
    for index, column in enumerate(columns):
        least = _WHOLE_MAX if index == 0 or column.kind in _KEPT else _BROKEN_MIN
        needed += min(_longest(column, rows), least) + _GAP
    return needed <= width


def _longest(column: Column, rows: Sequence[Row]) -> int:
    return max((len(_cell(column, row)) for row in rows), default=0)


def _cell(column: Column, row: Row) -> Text:
    """Return what people see; as Text, so that square brackets are not taken for colours."""
    return Text(rounded(row.get(column.key), column))


def _heading(column: Column) -> str:
    words = column.key.removesuffix(_PER_SECOND).replace("_", " ")
    return f"{words} (UTC)" if column.kind is Kind.TIME else words


def _emit_json(value: object, *, beside: bool = False) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), err=beside)
