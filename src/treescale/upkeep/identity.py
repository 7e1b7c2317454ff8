"""`server.json`: which server this is, from one start to the next.

    {"format": 1, "server": "<32 hex digits>"}

In the first data directory, beside `store.json`. It is no secret and nothing is lost with it: a
server whose first disk is gone is a new one at the old address and takes its other disks along
(`claims`). A server without stores keeps nothing, so it is a new one at each start.

The processes of a server hold a lock of the kernel's on that file for as long as one of them runs.
So whoever gets it, on the same file under the same kernel, knows that those before have ended, and
need not wait until the cluster believes it. A copy of the file is another file, and another
machine, or this one after a boot, has another kernel: they prove nothing.
"""

import fcntl
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
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


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


def place_held(directory: Path) -> str:
    """Take the lock on the identity in this directory and return where that is.

    It is held until this process and its forks have ended, whatever ends them. Returns "" when
    others hold it, or where files cannot be locked: then nothing is proven.
    """
    try:
        fd = os.open(directory / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, boot = os.fstat(fd), _BOOT.read_text().strip()
    except OSError:
        os.close(fd)
        return ""
    return f"{boot} {found.st_dev} {found.st_ino}"


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
