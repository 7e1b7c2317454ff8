"""Reading back what a store holds, on one core from a cold disk: against disk and BLAKE3 in turn.

Who reads a chunk and then hashes it takes the time of both, so the bound is 1 ÷ (1/BLAKE3 +
1/disk), each measured in the same process on the same chunks.
"""

from pathlib import Path
from typing import Final

from bench.rows import Effort, Row, at_least
from bench.walk.child import empty_database, walked
from bench.walk.filling import chunks_of

BOUND: Final = "one after the other"
SHARE_MIN: Final = 0.6


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure bytes a second; the first round does not count."""
    store, url = root / "store", empty_database(root / "treescale.db")
    size = chunks_of(store, int(effort.gigabytes * 1e9))
    rounds = [walked("read-back", store, url) for _ in range(effort.rounds + 1)][1:]
    bound = [1 / (1 / one["blake3"] + 1 / one["disk"]) for one in rounds]
    name = f"read back {size / 1e9:.1f} GB, cold, one core"
    return [
        Row(
            name,
            "MB/s",
            at_least(SHARE_MIN),
            [one["read_back"] / 1e6 for one in rounds],
            [one / 1e6 for one in bound],
            against=BOUND,
        ),
        Row("… the disk alone", "MB/s", None, [one["disk"] / 1e6 for one in rounds]),
        Row("… BLAKE3 alone", "MB/s", None, [one["blake3"] / 1e6 for one in rounds]),
        Row("… memory, the whole process", "MB", None, [one["peak_mb"] for one in rounds]),
    ]
