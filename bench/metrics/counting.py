"""The server's CPU for 1,000 small requests, counted and not counted.

A server of one worker is asked for a manifest by tag on kept connections.
"""

from pathlib import Path
from typing import Final

from bench import turns
from bench.rows import Effort, Row
from bench.wire import Connection, Target
from bench.work.tiny import MANIFEST_TYPE

REQUESTS: Final = 20_000
CLIENTS: Final = 2


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure both in each alternation, of servers that were started for it."""
    what, names = "server CPU for 1,000 small requests", ("counted", "not counted")
    of = turns.Switched("bench.metrics.switched", _ask, REQUESTS, CLIENTS)
    return turns.rows(root, effort, what, names, of)


def _ask(target: Target, token: str, requests: int) -> None:
    path = f"/v2/{target.repository}/manifests/{turns.TAG}"
    headers = f"Accept: {MANIFEST_TYPE}\r\n"
    with Connection(target, token) as connection:
        for _ in range(requests):
            connection.expect(200, "GET", path, headers)
