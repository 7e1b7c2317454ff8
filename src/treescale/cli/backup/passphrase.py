"""A passphrase from a file: never from the command line, which every user of a machine can read."""

from pathlib import Path
from typing import Final

from treescale.errors import SettingInvalid

BYTES_MAX: Final = 64 * 1024


def read_passphrase(path: str | None) -> bytes | None:
    """Return what the file holds, without the end of its last line; None without a file.

    Raises SettingInvalid when it cannot be read, is empty or no passphrase.
    """
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            text = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise SettingInvalid(f"--passphrase-file {path}: {error.strerror}") from error
    text = text.removesuffix(b"\n").removesuffix(b"\r")
    if not text:
        raise SettingInvalid(f"--passphrase-file {path}: the file is empty")
    if len(text) > BYTES_MAX:
        raise SettingInvalid(f"--passphrase-file {path}: more than {BYTES_MAX:,} bytes")
    return text
