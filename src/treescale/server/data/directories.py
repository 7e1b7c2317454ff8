"""The data directories of a server at its start: which store each holds, and which are missing.

Looked at first and written to only then. A directory that holds no store is a new one's place, or
the mount point of a disk that is away: what the database and `server.json` remember of the path
tells. A server goes on without the disks that cannot be used, as long as one can.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from treescale.chunks.disk.label import create_label, look_at, open_label
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.threads import DiskThreads
from treescale.cluster.identity import Identity, read_identity, write_identity
from treescale.config import Settings
from treescale.errors import SettingInvalid, StoreUnusable
from treescale.log import get_logger
from treescale.metadata.engine.address import parse_address

LOOK_SECONDS_MAX: Final = 10.0
"""For a disk to say what it holds; one that takes longer is gone on without."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory: as it was named, absolute, and what was found there."""

    path: str
    root: str
    store_id: str = ""
    """The store it holds, or should hold; "" when it is empty or that is not known."""
    why: str = ""
    """Why it cannot be used; "" when it can."""
    identity: Identity | None = None
    """What its `server.json` says."""
    unidentified: str = ""
    """Why that cannot be read; "" when it can, or there is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store of this server lies: the directory as it was named, and the store's id."""

    path: str
    store_id: str
    why: str = ""
    """Why it cannot be used now; "" when it can."""


async def look(settings: Settings) -> list[DataDirectory]:
    """Return what the data directories hold; nothing is made in empty ones.

    Disks that hang are left alone. Raises SettingInvalid when two are the same store.
    """
    if settings.no_store:
        return []
    found = await asyncio.gather(*(_within(partial(_look, path), path) for path in settings.data))
    seen: dict[str, str] = {}
    for each in found:
        if each.store_id in seen:
            raise SettingInvalid(f"--data {each.path} is the same store as another --data")
        if each.store_id:
            seen[each.store_id] = each.path
    return found


def _look(path: str) -> DataDirectory:
    root = Path(path).absolute()
    found = DataDirectory(path, str(root))
    disk = Disk()
    try:
        store_id = look_at(root, disk)
        if store_id:
            found = replace(found, store_id=store_id)
            open_label(root, disk)
    except StoreUnusable as error:
        return replace(found, why=str(error))
    try:
        return replace(found, identity=read_identity(root, disk) if store_id else None)
    except StoreUnusable as error:
        return replace(found, unidentified=str(error))


async def labelled(paths: Iterable[str]) -> list[DataDirectory]:
    """Return the stores that lie in these directories; nothing is opened, synced or made.

    Directories that hold none are left out; of those that cannot be read it is said why.
    """
    looks = [_within(partial(_label, path), path) for path in dict.fromkeys(paths)]
    return [each for each in await asyncio.gather(*looks) if each.store_id or each.why]


def _label(path: str) -> DataDirectory:
    root = Path(path).absolute()
    try:
        return DataDirectory(path, str(root), look_at(root, Disk()))
    except StoreUnusable as error:
        return DataDirectory(path, str(root), why=str(error))


def make(directory: DataDirectory) -> DataDirectory:
    """Make a store in an empty directory; return what it holds now. Blocks."""
    root, disk = Path(directory.root), Disk()
    try:
        create_label(root, disk)
        return replace(directory, store_id=look_at(root, disk))
    except StoreUnusable as error:
        return replace(directory, why=str(error))


async def made(directories: Iterable[DataDirectory]) -> list[DataDirectory]:
    """Return the directories, those that are empty and usable made stores."""
    found = []
    for each in directories:
        new = not (each.why or each.store_id)
        found.append(await _within(partial(make, each), each.path) if new else each)
    return found


async def _within(work: Callable[[], DataDirectory], path: str) -> DataDirectory:
    """Return what the work returns, in a thread that nobody waits for when its disk hangs."""
    threads = DiskThreads(1, "look")
    done: Future[DataDirectory] = threads.submit(work)
    await asyncio.wait([asyncio.wrap_future(done)], timeout=LOOK_SECONDS_MAX)
    threads.shutdown()
    if done.done():
        return done.result()
    return _hung(path)


def _hung(path: str) -> DataDirectory:
    root = str(Path(path).absolute())
    return DataDirectory(path, root, why=f"{root}: the disk does not answer: it hangs.")


def without(
    directories: Sequence[DataDirectory], missing: Mapping[str, tuple[str, str]]
) -> list[DataDirectory]:
    """Return them with those marked that should hold another store: by root its id, and why."""
    found = []
    for each in directories:
        store_id, why = missing.get(each.root, ("", ""))
        if store_id:
            each = replace(each, store_id=store_id, why=each.why or why)  # noqa: PLW2901
        found.append(each)
    return found


def check(directories: Sequence[DataDirectory], *, all_of_them: bool) -> None:
    """Raise StoreUnusable when none can be used, or one cannot and all are required."""
    bad = [each.why for each in directories if each.why]
    if bad and (all_of_them or len(bad) == len(directories)):
        raise StoreUnusable("; ".join(bad))


def places(directories: Iterable[DataDirectory]) -> tuple[Place, ...]:
    """Return the stores that are there, or that should be."""
    return tuple(Place(each.path, each.store_id, each.why) for each in directories if each.store_id)


def remembered(directories: Iterable[DataDirectory]) -> Identity | None:
    """Return which server this is, as the directories have it; None when it is a new one.

    Raises StoreUnusable when all that say it cannot be read.

    A disk that was another server's says who that was: one that names its own store at its own
    path is believed before others, and the first before the next.
    """
    said = [(each, each.identity) for each in directories if each.identity is not None]
    said.sort(key=lambda both: both[1].stores.get(both[0].store_id) != both[0].root)
    if said:
        return said[0][1]
    for each in directories:
        if each.unidentified:
            raise StoreUnusable(each.unidentified)
    return None


def remember(directories: Sequence[DataDirectory], server_id: str, before: Identity | None) -> None:
    """Keep which server this is, and which stores it has, in every directory that can be used.

    Raises StoreUnusable when a new server can be kept nowhere.
    """
    here = {each.root for each in directories}
    stores = {each.store_id: each.root for each in directories if each.store_id}
    if before is not None:
        stores |= {
            store_id: root
            for store_id, root in before.stores.items()
            if store_id not in stores and root not in here
        }
    identity = Identity(server_id, stores)
    errors = []
    usable = [each for each in directories if not each.why]
    for each in usable:
        try:
            write_identity(Path(each.root), Disk(), identity)
        except StoreUnusable as error:
            errors.append(error)
            get_logger().warning("server.not_kept", path=each.root, reason=str(error))
    known = any(each.identity and each.identity.server_id == server_id for each in usable)
    if errors and len(errors) == len(usable) and not known:
        raise errors[0]


def check_database(settings: Settings, directories: Sequence[DataDirectory]) -> None:
    """Raise StoreUnusable when the SQLite file should lie in a directory that is missing.

    A new one in its place would be a new, empty registry.
    """
    file = parse_address(settings.database).path
    if file is None:
        return
    home = Path(file).absolute().parent
    identity = remembered(directories)
    held = {} if identity is None else {root: name for name, root in identity.stores.items()}
    present = {each.store_id for each in directories if not each.why}
    for each in directories:
        if Path(each.root) != home:
            continue
        empty = not each.why and not each.store_id
        if empty and held.get(each.root, "") in {"", *present}:
            return
        if empty:
            store_id = held[each.root]
            why = f"{each.root} held the store {store_id} and the database: is its disk mounted?"
        elif each.why and not _exists(Path(file), each):
            why = f"{each.why.rstrip('.')}, and the database lies there."
        else:
            return
        raise StoreUnusable(
            f"{why} Nothing can be served without it: bring the disk back, or restore a backup of "
            "the database and name it with --database"
        )


def _exists(file: Path, directory: DataDirectory) -> bool:
    """Say whether the file is there; of a disk that hangs nobody asks."""
    return "does not answer" not in directory.why and file.exists()
