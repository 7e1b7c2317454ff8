"""`treescale restore`: a backup into an empty database; it says what that means."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from treescale.chunks.disk.lock import DirectoryLock
from treescale.cli.backup.backup import PASSPHRASE_OPTION, STANDARD, row_of
from treescale.cli.backup.passphrase import read_passphrase
from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.cli.terminal.progress import WorkProgress
from treescale.clock import SystemClock
from treescale.errors import Failed, SettingInvalid
from treescale.lease_times import FROZEN
from treescale.maintenance.backup.backup import Contents
from treescale.maintenance.backup.moved import leaving
from treescale.maintenance.backup.restore import Source
from treescale.maintenance.backup.restore import restore as restore_into

_TWIN: Final = (
    "This is another database than the one that was backed up, with keys of its own: clients log "
    "in again, and unfinished uploads begin anew. Servers are in it as soon as they start, each on "
    "its data directories, with the `store.json` that is in them."
)
_SINCE: Final = (
    "What was deleted or revoked in those {age} is there again, access tokens and old passwords "
    "too. What was pushed in them is not known: push it again."
)
_FROZEN: Final = (
    "Collection is frozen, so nothing of that is taken from the disks. `treescale fsck --quick` "
    "says what the backup names and no disk has; when this is the right database, `treescale "
    "collect --after-restore` has collection go on."
)
_MOVED: Final = "The old database is set aside as {moved}: no server runs from it any more."
_ELSEWHERE: Final = (
    "See that no server uses the old database any more: two with the same identity would each "
    "delete what the other one needs."
)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


@click.command("restore")
@click.argument("file", metavar="FILE|-")
@click.option("--keep-identity", is_flag=True, help="The database moves: keys and servers stay.")
@PASSPHRASE_OPTION
@cluster_options
def restore(
    desk: CommandContext, *, file: str, keep_identity: bool, passphrase_file: str | None
) -> None:
    """Read a backup into the database of these settings, which must be empty.

    All of it, or nothing: a backup that is cut short or altered leaves the database empty. It may
    be SQLite or PostgreSQL, whatever the backup was made of.

    With --keep-identity the database moves, as from SQLite to PostgreSQL: stop the server, back
    up, restore with this, start with the new database. The old SQLite file is renamed.
    """
    passphrase = read_passphrase(passphrase_file)
    desk.check_here()
    with _opened(file) as opened, DirectoryLock() as lock, _progress(desk) as progress:
        source = Source(_reading(opened), passphrase)
        age = SystemClock().now() - source.header.taken
        desk.out.note(f"A backup of {age_text(age)} ago, by TreeScale {source.header.version}.")
        total = None if file == STANDARD else os.fstat(opened.fileno()).st_size

        async def work(url: str) -> tuple[Contents, Path | None]:
            def tell(rows: int, done: int) -> None:
                progress.rows(rows, done, total)

            if not keep_identity:
                return await restore_into(url, source, tell, lock, keep_identity=False), None
            async with leaving(source.header, lock) as moved:
                is_last = moved is not None
                restored = await restore_into(
                    url, source, tell, lock, keep_identity=True, is_last=is_last
                )
                return restored, moved

        restored, moved = desk.run_at(work)
    row = {
        "file": file,
        **row_of(restored),
        "age_seconds": int(age),
        "keep_identity": keep_identity,
        "collection": None if moved is not None else FROZEN,
        "moved": None if moved is None else str(moved),
    }
    desk.out.done(f"Restored {sum(restored.rows.values()):,} rows.", row)
    for sentence in _meaning(age, moved, keep_identity=keep_identity):
        desk.out.note(sentence)


def age_text(seconds: float) -> str:
    """Return an age as people say it."""
    for unit, length in (("days", _DAY), ("hours", _HOUR), ("minutes", _MINUTE)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, round(seconds))} s"


def _meaning(age: float, moved: Path | None, *, keep_identity: bool) -> Iterator[str]:
    if not keep_identity:
        yield from (_TWIN, _SINCE.format(age=age_text(age)), _FROZEN)
    elif moved is not None:
        yield _MOVED.format(moved=moved)
    else:
        yield from (_ELSEWHERE, _SINCE.format(age=age_text(age)), _FROZEN)


def _reading(opened: BinaryIO) -> Callable[[int], bytes]:
    def read(count: int) -> bytes:
        try:
            return opened.read(count)
        except OSError as error:
            raise Failed(f"the backup cannot be read: {error.strerror}") from error

    return read


def _progress(desk: CommandContext) -> WorkProgress:
    return WorkProgress("Restoring", SystemClock(), quiet=desk.out.as_json)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == STANDARD:
        if sys.stdin is None:
            raise SettingInvalid("standard input is closed: say a file, or have a pipe there")
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise SettingInvalid(f"{file} cannot be read: {error.strerror}") from error
        yield opened
