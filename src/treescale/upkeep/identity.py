"""`server.json`: which server this is, from one start to the next.

    {"format": 1, "server": "<32 hex digits>"}

In the first data directory, beside `store.json`. It is no secret and nothing is lost with it: a
server whose first disk is gone is a new one at the old address and takes its other disks along
(`claims`). A server without stores keeps nothing, so it is a new one at each start.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

from treescale.chunks.syscalls import Disk, read_all, replace_file
from treescale.errors import StoreUnusable

FORMAT: Final = 1
_NAME: Final = "server.json"
_DRAFT: Final = "server.json.new"
_identity_bytes_max: Final = 4096


def new_server_id() -> str:
    """Return an id that no other server has: 32 hex digits."""
    return uuid4().hex


def server_id_in(directory: Path, disk: Disk, new_id: Callable[[], str] = new_server_id) -> str:
    """Return the id kept in the directory; the first time a new one, durable when this returns.

    The directory is a store already: its label was checked, so the disk is there. Raises
    StoreUnusable when the id can be neither read nor written.
    """
    path = directory / _NAME
    try:
        text = _read(disk, path)
        if text is None:
            server_id = new_id()
            text = json.dumps({"format": FORMAT, "server": server_id}).encode()
            replace_file(disk, path, directory / _DRAFT, text)
            return server_id
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be used: {error.strerror}") from error
    return _parse(path, text)


def _read(disk: Disk, path: Path) -> bytes | None:
    try:
        fd = disk.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return read_all(disk, fd, _identity_bytes_max)
    finally:
        disk.close(fd)


def _parse(path: Path, text: bytes) -> str:
    try:
        document = json.loads(text)
        version, server_id = document["format"], document["server"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreUnusable(
            f"{path} does not say which server this is: remove it, and this is a new one"
        ) from error
    if version != FORMAT:
        raise StoreUnusable(f"{path} has format {version}; this release reads format {FORMAT}")
    if not isinstance(server_id, str) or not server_id:
        raise StoreUnusable(f"{path} names no server: remove it, and this is a new one")
    return server_id
