"""A directory of backups: what is no longer kept goes, once a newer one is whole and durable."""

from pathlib import Path

from treescale.errors import Failed
from treescale.maintenance.backup.file import is_backup
from treescale.maintenance.backup.rotation import is_name, to_remove


def rotate(directory: Path, made: str, keep: int) -> list[str]:
    """Remove what `rotation` says; return the names. Call it when `made` has been read back.

    What is no backup by its first bytes (cut to nothing, written over), or is not for this user to
    read, neither counts nor goes. Raises Failed when a file cannot be removed: the backup is there
    all the same.
    """
    try:
        found = [
            path.name for path in directory.iterdir() if is_name(path.name) and _is_sound(path)
        ]
        gone = to_remove(found, made, keep)
        for name in gone:
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise Failed(
            f"the backup {made} is there, but older ones cannot be removed: {error.strerror}"
        ) from error
    return gone


def _is_sound(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and is_backup(path)
    except PermissionError:  # as of somebody who made one by hand: those of each night go on
        return False
