"""`treescale backup`: all metadata into one file, as it is at one moment."""

import os
import secrets
import sys
from pathlib import Path
from typing import BinaryIO, Final

import click

from treescale.cli.backup.passphrase import read_passphrase
from treescale.cli.terminal.actor import cli_actor
from treescale.cli.terminal.options import CommandContext, cluster_options, require_database
from treescale.cli.terminal.output import size
from treescale.cli.terminal.progress import WorkProgress
from treescale.clock import SystemClock
from treescale.errors import BackupInvalid, Failed, SettingInvalid, TreeScaleError
from treescale.maintenance.backup.backup import Contents, back_up, read_back
from treescale.maintenance.backup.directory import rotate
from treescale.maintenance.backup.file import check_free, new_file
from treescale.maintenance.backup.rotation import draft_of, name_of
from treescale.maintenance.backup.stream import Writer
from treescale.maintenance.report.columns import Row, time
from treescale.metadata.portable.last_backup import LastBackup, note_backup
from treescale.metadata.portable.snapshot import Facts, snapshot

STANDARD: Final = "-"
DAYS_MAX: Final = 3660
PASSPHRASE_OPTION: Final = click.option(
    "--passphrase-file", metavar="FILE", help="The backup is encrypted with what this file holds."
)


@click.command("backup")
@click.argument("file", metavar="FILE|-")
@PASSPHRASE_OPTION
@click.option("--overwrite", is_flag=True, help="A backup that has this name is replaced.")
@click.option(
    "--keep",
    type=click.IntRange(1, DAYS_MAX),
    metavar="DAYS",
    help="FILE is a directory: each backup has a name of its own, and of so many days one stays.",
)
@cluster_options
def backup(
    desk: CommandContext,
    *,
    file: str,
    passphrase_file: str | None,
    overwrite: bool,
    keep: int | None,
) -> None:
    """Write all that the database knows into one file, or to standard output.

    Servers go on meanwhile, and nobody waits: the backup is of the moment it began. It holds keys
    and password hashes, so only its owner may read it. It holds no layers: those are in the data
    directories. Before it gets its name it is read back, to its end; then the database notes it.
    """
    passphrase = read_passphrase(passphrase_file)
    desk.check_here()
    require_database(desk.loaded.settings.database)
    removed: list[str] = []
    if keep is not None:
        if file == STANDARD or overwrite:
            raise click.UsageError("--keep is for a directory, and replaces nothing")
        path = _new_path(desk, Path(file).absolute())
        file = str(path)
        made = _to_file(desk, path, passphrase, draft=draft_of(path.name))
        removed = rotate(path.parent, path.name, keep)
    elif file == STANDARD:
        made = _to_standard_output(desk, passphrase)
    else:
        made = _to_file(desk, Path(file).absolute(), passphrase, overwrite=overwrite)
    row = {
        "file": file,
        "encrypted": passphrase is not None,
        "removed": removed,
        **row_of(made),
    }
    said = f"Backup of {sum(made.rows.values()):,} rows, {size(made.bytes)}: {file}"
    desk.out.done(said, row, beside=file == STANDARD)


def _to_standard_output(desk: CommandContext, passphrase: bytes | None) -> Contents:
    if sys.stdout is None:
        raise click.UsageError("standard output is closed: write it to a pipe or a file")
    if os.isatty(1):
        raise click.UsageError("a backup is no text: write it to a pipe or a file")
    made = _written(desk, sys.stdout.buffer, passphrase)
    sys.stdout.buffer.flush()
    return made


def _to_file(
    desk: CommandContext,
    path: Path,
    passphrase: bytes | None,
    *,
    overwrite: bool = False,
    draft: str = "",
) -> Contents:
    """Write a backup, read it back, and have the database say so."""
    check_free(path, overwrite=overwrite)
    with new_file(path, overwrite=overwrite, draft=draft) as opened:
        made = _written(desk, opened, passphrase)
        _read_back(desk, opened, passphrase, made)
    _note(desk, path, made, encrypted=passphrase is not None)
    return made


def _new_path(desk: CommandContext, directory: Path) -> Path:
    """Return where the next backup of this cluster goes."""
    if not directory.is_dir():
        raise SettingInvalid(f"there is no directory {directory}: make it first")

    async def facts(url: str) -> Facts:
        async with snapshot(url) as found:
            return found.facts

    now = desk.run_at(facts)
    return directory / name_of(now.taken, now.cluster)


def _note(desk: CommandContext, path: Path, made: Contents, *, encrypted: bool) -> None:
    """Note the backup in the database; where that cannot be it is good all the same, and told."""
    header = made.header
    found = LastBackup(
        taken=header.taken,
        actor=cli_actor(),
        bytes=made.bytes,
        file=str(path),
        encrypted=encrypted,
        commits=header.commits,
    )
    try:
        desk.run(lambda database: note_backup(database, found))
    except (TreeScaleError, OSError) as error:
        desk.out.note(
            f"The backup is good, but the database could not be told of it: {error}. So "
            "`treescale cluster status`, `doctor` and /metrics say that it is older."
        )


def row_of(made: Contents) -> Row:
    """Return what scripts are told of a backup."""
    header = made.header
    return {
        "taken": time(header.taken),
        "version": header.version,
        "engine": header.engine,
        "schema": header.schema,
        "bytes": made.bytes,
        "rows": dict(made.rows),
    }


def _written(desk: CommandContext, file: BinaryIO, passphrase: bytes | None) -> Contents:
    def write(data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise Failed(f"the backup cannot be written: {error.strerror}") from error

    writer = Writer(write, passphrase, random=secrets.token_bytes)
    with WorkProgress("Backing up", SystemClock(), quiet=desk.out.as_json) as progress:

        async def work(url: str) -> Contents:
            return await back_up(url, writer, lambda rows, done: progress.rows(rows, done, None))

        return desk.run_at(work)


def _read_back(
    desk: CommandContext, file: BinaryIO, passphrase: bytes | None, made: Contents
) -> None:
    """Raise Failed unless the file has what was written."""
    file.flush()
    os.fsync(file.fileno())
    file.seek(0)
    with WorkProgress("Reading back", SystemClock(), quiet=desk.out.as_json) as progress:
        try:
            found = read_back(
                file.read, passphrase, lambda rows, done: progress.rows(rows, done, made.bytes)
            )
        except BackupInvalid as error:
            raise Failed("the disk did not keep what was written to it: look after it") from error
    assert found == made
