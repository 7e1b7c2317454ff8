"""Memory of all processes of a server: at rest, and at most while 16 clients push and 16 pull.

PSS, where a page shared by some counts once, in samples. One registry after the other, each alone.
Of ours the walk runs, too, which a server that is alone begins after ten minutes.
"""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import OURS
from bench.processes import pss_mb, start
from bench.rounds import Start, starts
from bench.rows import Effort, Row, at_most, beside
from bench.wire import pull, token_for
from bench.work.stamped import push_stamped

CLIENTS: Final = 16
SAMPLE_SECONDS: Final = 0.2
SETTLED_SECONDS: Final = 5.0
"""After a start: what runs beside requests has begun."""
WALK_SECONDS_MAX: Final = 60.0
REST_MB_MAX: Final = 130.0
PEAK_MB_MAX: Final = 250.0


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure both once."""
    place = root / "memory"
    place.mkdir()
    size = effort.layer_bytes
    measured = {name: _measure(begin, place / name, size) for name, begin in starts(effort).items()}
    ours, *peers = measured
    peak = f"peak memory, {CLIENTS} pushes and {CLIENTS} pulls of {size / 1e6:g} MB at once (PSS)"
    works = {"memory at rest, the walk included (PSS)": REST_MB_MAX, peak: PEAK_MB_MAX}
    return [
        beside(
            work,
            "MB",
            at_most(limit, own=True),
            [measured[ours][n]],
            {name: [measured[name][n]] for name in peers},
        )
        for n, (work, limit) in enumerate(works.items())
    ]


def _measure(begin: Start, directory: Path, size: int) -> tuple[float, float]:
    """Return megabytes at rest, and at most."""
    with begin(directory):
        pass  # what a first start makes is not there in others
    with begin(directory) as target:
        if target.name == OURS:
            _have_it_walk(directory)
        time.sleep(SETTLED_SECONDS)
        rest = pss_mb(target.pid)
        token = token_for(target)
        digest = push_stamped(target, token, size)
        clients = start(
            [
                *[partial(push_stamped, target, token, size)] * CLIENTS,
                *[partial(pull, target, token, digest, size)] * CLIENTS,
            ]
        )
        peak, running = 0.0, True
        while running:
            peak = max(peak, pss_mb(target.pid))
            running = clients.running(SAMPLE_SECONDS)
        clients.ended()
    return rest, peak


def _have_it_walk(directory: Path) -> None:
    """Ask for what its walk does, so that it is begun, and stays."""
    command = [sys.executable, "-m", "treescale.cli.main", "verify", "--data", str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=WALK_SECONDS_MAX)
