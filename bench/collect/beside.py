"""What clients pay while their server collects: pushes and pulls, with it and without, in turns.

One server, SQLite, leases of seconds: what is pushed is in no manifest, so all of it ends a few
seconds later, and goes whenever collection is on.
"""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random  # noqa: TID251  seeded: the same bytes each time
from typing import Final

from bench.rows import Effort, Row, at_most
from tests.functional.wire import Wire
from tests.soak.cluster import Soaked
from tests.soak.content import Layer
from tests.soak.model import image_of
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.collection.state import Mode
from treescale.metadata.database import opened

LEASE_SECONDS: Final = 6.0
PHASE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.05
"""Between what a client does: the machine is not to be busy with the clients alone."""
BLOB_BYTES: Final = 4_000_000
REPOSITORY: Final = "admin/bench"
KEPT: Final = 8
SLOWER_TIMES_MAX: Final = 1.1
WITHOUT: Final = "without"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure p95 of pushes and of pulls in each phase; the rounds are alternations."""
    url = f"sqlite:///{root / 'treescale.db'}"
    soaked = Soaked(root, 1, url, (LEASE_SECONDS, LEASE_SECONDS))
    soaked.start()
    try:
        return _measured(soaked, url, effort)
    finally:
        soaked.crash()


def _measured(soaked: Soaked, url: str, effort: Effort) -> list[Row]:
    server = soaked.servers[0]
    wire = Wire(server, server.add_token(server.admin_account))
    layers = tuple(Layer(1, (number, number + 1, number + 2), number) for number in range(1, KEPT))
    for layer in (*layers, Layer(1, ())):
        wire.push_blob(REPOSITORY, layer.data)
    image = image_of(layers, Layer(1, ()))
    wire.request(
        "PUT", f"/v2/{REPOSITORY}/manifests/v1", image.body, {"Content-Type": image.kind}
    ).expect(201)
    chance, taken = Random(1), 0  # noqa: S311  nothing here is a secret
    seconds = max(2.0, PHASE_SECONDS * effort.scale)
    found: dict[tuple[str, Mode], list[float]] = {}
    for _ in range(effort.rounds):
        for mode in (Mode.OFF, Mode.ON):
            asyncio.run(_set(url, mode))
            before = soaked.events("collection.copies")
            works = {
                "push": lambda: wire.put_whole(REPOSITORY, chance.randbytes(BLOB_BYTES)).expect(
                    201
                ),
                "pull": lambda: wire.pull_blob(REPOSITORY, chance.choice(layers).digest),
            }
            for name, times in _phase(works, seconds).items():
                found.setdefault((name, mode), []).append(p95(times))
            taken += len(soaked.events("collection.copies")) - len(before)
    if not taken:
        raise RuntimeError("nothing was collected meanwhile: more --rounds, or a higher --scale")
    return [
        Row(
            f"{name} of 4 MB while much is collected: p95",
            "ms",
            at_most(SLOWER_TIMES_MAX),
            [each * 1000 for each in found[name, Mode.ON]],
            [each * 1000 for each in found[name, Mode.OFF]],
            0,
            WITHOUT,
        )
        for name in ("push", "pull")
    ]


async def _set(url: str, mode: Mode) -> None:
    async with opened(url) as database:
        await database.settings.put(COLLECTION_SETTING, mode)


def _phase(works: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Return how long each took, done again and again beside each other."""
    ended = threading.Event()
    times: dict[str, list[float]] = {name: [] for name in works}

    def again(name: str) -> None:
        while not ended.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            works[name]()
            times[name].append(time.perf_counter() - began)

    threads = [threading.Thread(target=again, args=(name,)) for name in works]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    ended.set()
    for thread in threads:
        thread.join()
    return times


def p95(times: list[float]) -> float:
    """Return the time that one in twenty exceeds."""
    return statistics.quantiles(times, n=20)[-1]
