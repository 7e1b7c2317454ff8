"""`server.json`: which server this is, from one start to the next, and which stores it has.

    {"format": 1, "server": "<32 hex digits>", "stores": {"<store id>": "<directory>"}}

Beside `store.json` in every data directory; any one serves. Version 0.1.0 kept it in the first
alone, without `stores`. It is no secret and nothing is lost with it: a server of which no directory
has it is a new one at the old address, and takes its disks along (`ownership`). A server without
stores keeps nothing, so it is a new one at each start.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from treescale.chunks.disk.syscalls import Disk, read_all, replace_file
from treescale.errors import StoreUnusable

FORMAT: Final = 1
_NAME: Final = "server.json"
_DRAFT: Final = "server.json.new"
_IDENTITY_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server this is; `stores` are the directories of its stores, by id."""

    server_id: str
    stores: Mapping[str, str] = field(default_factory=dict)


def new_server_id() -> str:
    """Return an id that no other server has: 32 hex digits."""
    return uuid4().hex


def read_identity(directory: Path, disk: Disk) -> Identity | None:
    """Return what is kept in the directory, None when nothing is; raises StoreUnusable."""
    path = directory / _NAME
    try:
        text = _read(disk, path)
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be used: {error.strerror}") from error
    return None if text is None else _parse(path, text)


def write_identity(directory: Path, disk: Disk, identity: Identity) -> None:
    """Keep it in the directory, durably when this returns; nothing happens when it is there.

    The directory is a store already: its label was checked, so the disk is there. Raises
    StoreUnusable when it cannot be written.
    """
    path = directory / _NAME
    document = {
        "format": FORMAT,
        "server": identity.server_id,
        "stores": dict(sorted(identity.stores.items())),
    }
    text = json.dumps(document).encode()
    try:
        if _read(disk, path) != text:
            replace_file(disk, path, directory / _DRAFT, text)
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be used: {error.strerror}") from error


def _read(disk: Disk, path: Path) -> bytes | None:
    try:
        fd = disk.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return read_all(disk, fd, _IDENTITY_BYTES_MAX)
    finally:
        disk.close(fd)


def _parse(path: Path, text: bytes) -> Identity:
    try:
        document = json.loads(text)
        version, server_id = document["format"], document["server"]
        stores = document.get("stores", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreUnusable(
            f"{path} does not say which server this is: remove it, and this is a new one"
        ) from error
    if version != FORMAT:
        raise StoreUnusable(f"{path} has format {version}; this release reads format {FORMAT}")
    if not isinstance(server_id, str) or not server_id:
        raise StoreUnusable(f"{path} names no server: remove it, and this is a new one")
    if not isinstance(stores, dict):
        stores = {}
    return Identity(server_id, {x: y for x, y in stores.items() if isinstance(y, str)})
