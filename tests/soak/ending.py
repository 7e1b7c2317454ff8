"""What must be left when all has ended: on each disk, and in the database, what is referred to."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.cluster import Soaked
from tests.soak.model import Lane

LOOK_SECONDS = 0.5


@dataclass
class Expected:
    """What the images that can be pulled are made of."""

    chunks: dict[str, int] = field(default_factory=dict)
    """Their lengths in bytes."""
    blobs: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Return the bytes of one copy."""
        return sum(self.chunks.values())


def expected(lanes: Iterable[Lane]) -> Expected:
    """Return it from what was acknowledged; nothing is asked of the servers."""
    found = Expected()
    for lane in lanes:
        for repository in lane.repositories():
            for image in repository.live():
                for layer in image.layers:
                    found.blobs.add(layer.digest)
                    found.chunks |= layer.chunks
    return found


def files(below: Path) -> dict[str, int]:
    """Return the names and lengths of the files there."""
    return {path.name: path.stat().st_size for path in below.rglob("*") if path.is_file()}


def differences_on(disk: Path, wanted: Expected) -> list[str]:
    """Return what one disk has and should not, and what it lacks."""
    here = files(disk / "chunks")
    told = Counter(
        more=len(here.keys() - wanted.chunks.keys()),
        less=len(wanted.chunks.keys() - here.keys()),
        length=sum(wanted.chunks[name] != here[name] for name in wanted.chunks if name in here),
        trash=len(files(disk / "trash")),
        quarantine=len(files(disk / "quarantine")),
        tmp=len(files(disk / "tmp")),
    )
    return [f"{what}: {count}" for what, count in told.items() if count]


def differences(soaked: Soaked, wanted: Expected) -> list[str]:
    """Return what is left and should not be, and what is missing."""
    found: list[str] = []
    for number, server in enumerate(soaked.servers, 1):
        found += [f"s{number} {what}" for what in differences_on(server.disks[0], wanted)]
    rows = soaked.rows("blobs", "chunks", "uploads")
    should = {"blobs": len(wanted.blobs), "chunks": len(wanted.chunks), "uploads": 0}
    found += [f"rows of {t}: {rows[t]}, not {n}" for t, n in should.items() if rows[t] != n]
    return found


def wait_for_the_end(soaked: Soaked, wanted: Expected, seconds: float) -> tuple[float, list[str]]:
    """Return how long it took until nothing else was left, and what is left after so long."""
    began, resumed = time.monotonic(), False
    while (left := differences(soaked, wanted)) and time.monotonic() < began + seconds:
        time.sleep(LOOK_SECONDS)
        paused = [x for x in soaked.status()["collection"] if "more than" in str(x.get("paused"))]
        if paused and not resumed:  # a fifth of a small store at once: what an operator does then
            resumed = soaked.administer("collect", "--resume") or True
    return time.monotonic() - began, left
