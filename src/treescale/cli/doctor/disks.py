"""Data directories: whose they are, how fast their disks sync, and how much room there is."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.label import look_at
from treescale.chunks.disk.syscalls import Disk
from treescale.cli.doctor.finding import Finding, failure, fine, warning
from treescale.clock import SystemClock
from treescale.cluster.advice import FILL_MAX
from treescale.cluster.identity import read_identity
from treescale.errors import StoreUnusable

SYNCS: Final = 40
SYNC_BYTES: Final = 4096
SYNC_SECONDS_MAX: Final = 5.0
"""Then it is known that the disk is slow."""
P50_SECONDS_MAX: Final = 0.02
P99_SECONDS_MAX: Final = 0.25
RESERVE: Final = Reserve()
_NETWORK: Final = (
    *("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "lustre", "afs", "gpfs", "ocfs"),
    *("sshfs", "s3fs", "rclone", "juicefs", "davfs"),
)
"""Kinds of file systems whose locks and syncs are not those of a disk here; they begin so."""
_MEMORY: Final = ("tmpfs", "ramfs")
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What a data directory is like."""

    path: str
    there: bool
    trouble: str = ""
    """Why it is no directory for a store."""
    kind: str = ""
    """Of its file system."""
    unwritable: str = ""
    syncs: tuple[float, ...] = ()
    """How long each took, in seconds."""
    bytes_total: int = 0
    bytes_free: int = 0
    inodes_total: int = 0
    """0: this file system does not count them."""
    inodes_free: int = 0


def directory(path: str) -> Iterator[Finding]:
    """Say how a data directory is."""
    facts = read(Path(path))
    return (finding for check in CHECKS if (finding := check(facts)) is not None)


def unmounted(paths: Sequence[str]) -> Iterator[Finding]:
    """Name the directories that hold nothing and should: `server.json` remembers their stores."""
    roots = {os.path.abspath(path): path for path in paths}  # noqa: PTH100  as `serve` has it
    held = {root: look_at(Path(root), Disk()) for root in roots}
    for root in roots:
        identity = read_identity(Path(root), Disk()) if held[root] else None
        for store_id, place in (identity.stores if identity else {}).items():
            if place in held and not held[place]:
                told = f"it held the store {store_id[:12]}, and is empty or not there"
                advice = "mount its disk there; if that is lost, `treescale cluster forget` it"
                yield failure(f"store {roots[place]}", told, advice)


def read(path: Path) -> DiskFacts:
    """Return what is to be known of it; nothing that is written stays."""
    try:
        there = stat.S_ISDIR(path.stat().st_mode)
        trouble = "" if there else "it is no directory"
    except FileNotFoundError:
        there, trouble = False, ""
    except OSError as error:
        return DiskFacts(str(path), there=False, trouble=error.strerror or str(error))
    if there:
        try:
            look_at(path, Disk())
        except StoreUnusable as error:
            trouble = str(error)
    place = next(each for each in (path, *path.absolute().parents) if each.is_dir())
    unwritable, syncs = _written(place) if there else ("", ())
    room = os.statvfs(place)
    return DiskFacts(
        str(path),
        there,
        trouble,
        file_system(place),
        unwritable,
        syncs,
        bytes_total=room.f_blocks * room.f_frsize,
        bytes_free=room.f_bavail * room.f_frsize,
        inodes_total=room.f_files,
        inodes_free=room.f_favail,
    )


def file_system(path: Path) -> str:
    """Return the kind of the file system that a path lies on; "" when that cannot be seen."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return ""
    return kind_of(os.path.realpath(path), mounts)


def kind_of(path: str, mounts: str) -> str:
    """Return the kind of what is mounted nearest above a path, in the text of mountinfo."""
    nearest, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        inside = f"{path}/".startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(nearest):  # what is mounted later covers what is below
            nearest, kind = point, after.split()[0]
    return kind


def is_network(kind: str) -> bool:
    """Say whether a file system of this kind is another machine's."""
    return kind.removeprefix("fuse.").startswith(_NETWORK)


def _written(directory: Path) -> tuple[str, tuple[float, ...]]:
    """Return why nothing can be written there, and how long each of some syncs took."""
    try:
        descriptor = _nameless(directory)
    except OSError as error:
        return error.strerror or str(error), ()
    syncs: list[float] = []
    try:
        content, begun = secrets.token_bytes(SYNC_BYTES), _CLOCK.monotonic()
        for number in range(SYNCS):
            before = _CLOCK.monotonic()
            os.pwrite(descriptor, content, number * SYNC_BYTES)
            os.fsync(descriptor)
            syncs.append(_CLOCK.monotonic() - before)
            if before - begun > SYNC_SECONDS_MAX:
                break
    except OSError as error:
        return error.strerror or str(error), tuple(syncs)
    finally:
        os.close(descriptor)
    return "", tuple(syncs)


def _nameless(directory: Path) -> int:
    """Return a new file without a name: it is gone with this process, however that ends."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every file system has it; what is wrong is wrong below as well
        path = directory / f".doctor-{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        path.unlink()
        return descriptor


def standing(facts: DiskFacts) -> Finding | None:
    """Say whether it is a store's directory, and may be written to."""
    name = f"data {facts.path}"
    if facts.trouble:
        return failure(name, facts.trouble, "give --data a directory that is a store's, or empty")
    if not facts.there:
        advice = "nothing, if `treescale serve` is to make it; if a disk belongs there, mount it"
        return warning(name, "it is not there", advice)
    if facts.unwritable:
        advice = (
            f"let the user that the server runs as write to it (chown -R), or mount it read-write; "
            f"this command runs as user {os.geteuid()}"
        )
        return failure(name, f"nothing can be written: {facts.unwritable}", advice)
    return fine(name, f"there, and writable as user {os.geteuid()}")


def medium(facts: DiskFacts) -> Finding | None:
    """Say whether what is acknowledged survives there."""
    name = f"file system {facts.path}"
    if facts.kind in _MEMORY:
        advice = "give --data a directory on a disk"
        return failure(name, f"{facts.kind}: it is memory, and empty after a restart", advice)
    if is_network(facts.kind):
        advice = (
            "a local disk on each server is faster, and its loss is what copies are for; a network "
            "that hangs has all pushes hang"
        )
        return warning(name, f"{facts.kind}: a disk elsewhere", advice)
    return fine(name, facts.kind) if facts.kind else None


def sync_speed(facts: DiskFacts) -> Finding | None:
    """Say how long a small write takes to be durable: each push waits for several."""
    if not facts.syncs:
        return None
    name = f"sync {facts.path}"
    p50, p99 = share(facts.syncs, 0.5), share(facts.syncs, 0.99)
    found = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms of {len(facts.syncs)} syncs"
    if p50 > P50_SECONDS_MAX or p99 > P99_SECONDS_MAX:
        advice = (
            "each push and each commit of SQLite waits for several syncs: a disk with a "
            "power-safe cache (SSD, NVMe) takes below 1 ms; look for what else keeps it busy"
        )
        return warning(name, found, advice)
    return fine(name, found)


def room(facts: DiskFacts) -> Finding | None:
    """Say whether it takes more, by what a store keeps free."""
    if not facts.bytes_total:
        return None
    name = f"room {facts.path}"
    kept = max(int(facts.bytes_total * RESERVE.fraction), RESERVE.bytes_min)
    fill = 1 - facts.bytes_free / facts.bytes_total
    found = f"{facts.bytes_free / 1e9:.1f} GB of {facts.bytes_total / 1e9:.1f} GB are free"
    advice = "add a disk or a server, or make room; `treescale collect` frees what is deleted"
    if facts.bytes_free < kept:
        told = f"{found}, and {kept / 1e9:.1f} GB stay free: pushes are refused (507)"
        return failure(name, told, advice)
    return warning(name, found, advice) if fill >= FILL_MAX else fine(name, found)


def inodes(facts: DiskFacts) -> Finding | None:
    """Say whether it takes more files."""
    if not facts.inodes_total:
        return None
    name = f"inodes {facts.path}"
    found = f"{facts.inodes_free:,} of {facts.inodes_total:,} are free"
    advice = "make the file system anew with more (mkfs.ext4 -N, or xfs), or remove small files"
    if facts.inodes_free < RESERVE.inodes_min:
        return failure(name, f"{found}: pushes are refused (507)", advice)
    low = facts.inodes_free < (1 - FILL_MAX) * facts.inodes_total
    return warning(name, found, advice) if low else fine(name, found)


def share(times: Sequence[float], part: float) -> float:
    """Return the time that this part of them did not take longer than."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


CHECKS: Final[tuple[Callable[[DiskFacts], Finding | None], ...]] = (
    standing,
    medium,
    sync_speed,
    room,
    inodes,
)
"""What is looked for in each data directory."""
