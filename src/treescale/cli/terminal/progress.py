"""How far work is that takes long: a bar for people, a line now and then for logs.

On standard error, so that the answer stays alone on standard output.
"""

import sys
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from treescale.chunks.format.placement import PARTITIONS
from treescale.cli.terminal.output import rate, size
from treescale.clock import Clock
from treescale.metadata.records import StoreJob

LINE_SECONDS: Final = 30.0
"""Between two lines in a log."""
RATE_SECONDS: Final = 5.0
"""Over which the rate is a mean."""


class WorkProgress:
    """The progress of a job of many stores, or of a backup.

    `quiet` shows only what is out of the ordinary.
    """

    def __init__(self, title: str, clock: Clock, *, quiet: bool) -> None:
        self._title = title
        self._clock = clock
        self._quiet = quiet
        self._line_at = clock.monotonic() + LINE_SECONDS
        self._seen: deque[tuple[float, int]] = deque()
        self._bar: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[moved]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=None, moved="")

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, parts: Sequence[StoreJob]) -> None:
        """Show how far the stores are."""
        done = sum(part.done for part in parts)
        total = sum(part.total or PARTITIONS for part in parts)
        moved = sum(part.moved for part in parts)
        speed = self._rate(moved)
        self._tell(done, total, f"{size(moved)}, {rate(speed)}" if moved else "")

    def rows(self, rows: int, moved: int, total: int | None) -> None:
        """Show how many rows and bytes are behind, of so many bytes in all; None: nobody knows."""
        told = f"{rows:,} rows, {size(moved)}, {rate(self._rate(moved))}"
        self._tell(moved, total, told)

    def _tell(self, done: int, total: int | None, told: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, moved=told)
        elif self._clock.monotonic() >= self._line_at and not self._quiet:
            self._line_at = self._clock.monotonic() + LINE_SECONDS
            percent = "" if total is None else f"{100 * done // total if total else 100} %"
            click.echo(f"{self._title}: {', '.join(filter(None, (percent, told)))}", err=True)

    def say(self, sentence: str) -> None:
        """Say something beside it."""
        if self._bar is not None:
            self._bar.console.print(Text(sentence))
        else:
            click.echo(sentence, err=True)

    def _rate(self, moved: int) -> int:
        """Return the bytes per second of the last seconds."""
        now = self._clock.monotonic()
        self._seen.append((now, moved))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:  # noqa: PLR2004  two make a rate
            self._seen.popleft()
        since, before = self._seen[0]
        return int((moved - before) / (now - since)) if now > since else 0
