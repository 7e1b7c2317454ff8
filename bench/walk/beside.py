"""What a pull pays while everything is read back because somebody asked for it.

Of its own accord a server reads nothing back while clients are at work, so this is the worst case.
One server as it comes, SQLite. Blobs are pulled at a fixed rate, first undisturbed, then while
`treescale verify` runs.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.blobs import SEED, push_blobs
from bench.network.pulling import Pulled, Pulling
from bench.peers import treescale
from bench.rows import Effort, Row, at_most
from bench.wire import Target

BYTES_PER_SECOND: Final = 100e6
SETTLE_SECONDS: Final = 3.0
SECONDS: Final = 20.0
VERIFY_SECONDS_MAX: Final = 1800.0
UNDISTURBED: Final = "undisturbed"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure p99 and throughput of pulls, with and without."""
    place = root / "beside"
    place.mkdir()
    with treescale(place / "treescale") as target:
        blobs = push_blobs([target], effort.gigabytes * 1e9)
        calm = _pulled(target, blobs, effort)
        command = [sys.executable, "-m", "treescale.cli.main", "verify", "--data"]
        with subprocess.Popen(
            [*command, str(place / "treescale")], stdout=subprocess.DEVNULL
        ) as verify:
            time.sleep(SETTLE_SECONDS)
            busy = _pulled(target, blobs, effort)
            under_way = verify.poll() is None
            verify.wait(VERIFY_SECONDS_MAX)
    if not under_way:
        raise RuntimeError(
            "it was over before the pulls were: more --gigabytes, or a lower --scale"
        )
    name = f"pull of 4 MB, {BYTES_PER_SECOND / 1e6:.0f} MB/s in all, while all is read back"
    return [
        Row(f"{name}: p99", "s", None, [busy.p99], [calm.p99], 3, UNDISTURBED),
        Row("… pulled", "MB/s", None, [busy.speed], [calm.speed], 1, UNDISTURBED),
        Row("… pulls that failed", f"of {len(busy.pulls)}", at_most(0), [float(busy.failed)]),
    ]


def _pulled(target: Target, blobs: list[tuple[str, int]], effort: Effort) -> Pulled:
    seconds = max(3.0, SECONDS * effort.scale)
    with Pulling([target], blobs, BYTES_PER_SECOND, seed=SEED) as pulling:
        began = time.monotonic()
        time.sleep(SETTLE_SECONDS + seconds)
    return pulling.between(began + SETTLE_SECONDS, began + SETTLE_SECONDS + seconds)
