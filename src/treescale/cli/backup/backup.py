"""`treescale backup`: all metadata into one file, as it is at one moment."""

import os
import secrets
import sys
from pathlib import Path
from typing import BinaryIO, Final

import click

from treescale.cli.backup.passphrase import read_passphrase
from treescale.cli.terminal.options import CommandContext, cluster_options, require_database
from treescale.cli.terminal.output import Row, size, time
from treescale.cli.terminal.progress import WorkProgress
from treescale.clock import SystemClock
from treescale.errors import BackupInvalid, Failed
from treescale.maintenance.backup.backup import Contents, back_up, read_back
from treescale.maintenance.backup.file import check_free, new_file
from treescale.maintenance.backup.stream import Writer

STANDARD: Final = "-"
PASSPHRASE_OPTION: Final = click.option(
    "--passphrase-file", metavar="FILE", help="The backup is encrypted with what this file holds."
)


@click.command("backup")
@click.argument("file", metavar="FILE|-")
@PASSPHRASE_OPTION
@click.option("--overwrite", is_flag=True, help="A backup that has this name is replaced.")
@cluster_options
def backup(
    desk: CommandContext, *, file: str, passphrase_file: str | None, overwrite: bool
) -> None:
    """Write all that the database knows into one file, or to standard output.

    Servers go on meanwhile, and nobody waits: the backup is of the moment it began. It holds keys
    and password hashes, so only its owner may read it. It holds no layers: those are in the data
    directories. Before it gets its name it is read back, to its end.
    """
    passphrase = read_passphrase(passphrase_file)
    require_database(desk.loaded.settings.database)
    if file == STANDARD:
        if sys.stdout is None:
            raise click.UsageError("standard output is closed: write it to a pipe or a file")
        if os.isatty(1):
            raise click.UsageError("a backup is no text: write it to a pipe or a file")
        made = _written(desk, sys.stdout.buffer, passphrase)
        sys.stdout.buffer.flush()
    else:
        path = Path(file).absolute()
        check_free(path, overwrite=overwrite)
        with new_file(path, overwrite=overwrite) as opened:
            made = _written(desk, opened, passphrase)
            _read_back(desk, opened, passphrase, made)
    row = {"file": file, "encrypted": passphrase is not None, **row_of(made)}
    said = f"Backup of {sum(made.rows.values()):,} rows, {size(made.bytes)}: {file}"
    desk.out.done(said, row, beside=file == STANDARD)


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
