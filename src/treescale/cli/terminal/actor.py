"""Who did it, when a command does it on the database."""

import getpass
import os
import socket

_UNKNOWN = "?"


def cli_actor() -> str:
    """Return `cli:USER@HOST`; the user's number where there is no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = ""
    return f"cli:{_word(user) or os.getuid()}@{_word(socket.gethostname()) or _UNKNOWN}"


def _word(text: str) -> str:
    """Return what can be printed of it."""
    return "".join(character for character in text if character.isprintable())
