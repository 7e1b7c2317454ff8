"""Start to ready with 100,000 blobs in the database: from the command to a 200 of /readyz."""

import time
from pathlib import Path
from typing import Final

from bench.peers import treescale
from bench.rows import Effort, Row, at_most
from bench.rowsets import add_blobs

BLOBS: Final = 100_000


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure seconds; the first start after the blobs were added is not counted."""
    place = root / "start"
    place.mkdir()
    with treescale(place / "treescale"):
        pass
    add_blobs(place / "treescale", BLOBS)
    seconds: list[float] = []
    for _ in range(effort.rounds + 1):
        began = time.perf_counter()
        with treescale(place / "treescale"):
            seconds.append(time.perf_counter() - began)
    return [Row(f"start to ready, {BLOBS:,} blobs", "s", at_most(2.0), seconds[1:], digits=2)]
