"""Manifest GET and HEAD by tag: requests a second and the 99th percentile of their time.

GET is asked by wrk, which costs least beside a server on the same cores. It counts every status
over 399, broken connection and timeout as an error; one error fails the run, a length too short
too, and one answer before each run is read and compared byte by byte. No common tool asks HEAD over
HTTP/1.1 (wrk and h2load wait for the body that Content-Length announces), so bench/asking.py does.

The 99th percentile of GET is wrk's: a stall counts as often as wrk would have asked meanwhile. That
of HEAD counts each answer once.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.asking import Load, ask_head
from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least, at_most
from bench.wire import Connection, Target, token_for
from bench.work.tiny import MANIFEST_TYPE, push_image

SCRIPT: Final = Path(__file__).with_name("manifests.lua")
CONNECTIONS: Final = (1, 32, 256)
METHODS: Final = ("GET", "HEAD")
TAG: Final = "bench"
SECONDS: Final = 2
WARM_UP_SECONDS: Final = 1


@dataclass(slots=True)
class Published:
    """The manifests asked for, by registry."""

    manifests: dict[str, bytes]

    def ask(
        self, method: str, connections: int, effort: Effort, target: Target, number: int
    ) -> Mapping[str, float]:
        """Ask for the tag over and over from so many connections."""
        token, manifest = token_for(target), self.manifests[target.name]
        _check(target, token, manifest, method)
        lasting = effort.of(SECONDS) if number else WARM_UP_SECONDS
        if method == "GET":
            load = _wrk(target, token, manifest, connections, lasting)
        else:
            load = ask_head(target, token, _path(target), MANIFEST_TYPE, connections, lasting)
        name = _name(method, connections)
        return {name: load.per_second, f"{name}, p99": load.p99_ms}


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure requests a second, and p99."""
    with side_by_side(root, "manifests", effort) as targets:
        published = Published({t.name: _publish(t) for t in targets.all})
        asked = [(method, count) for method in METHODS for count in CONNECTIONS]
        steps = [partial(published.ask, method, count, effort) for method, count in asked]
        figures = targets.measure(effort.rounds, steps)
    rows = [
        figures.row(_name(method, count), "requests/s", at_least(1.0, NAMED))
        for method, count in asked
    ]
    late = at_most(1.0, NAMED)
    return rows + [
        figures.row(f"{_name(method, count)}, p99", "ms", late, 2) for method, count in asked
    ]


def _publish(target: Target) -> bytes:
    with Connection(target, token_for(target)) as connection:
        return push_image(connection, target, TAG)


def _wrk(target: Target, token: str, manifest: bytes, connections: int, lasting: int) -> Load:
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{lasting}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), "-H", f"Accept: {MANIFEST_TYPE}"),
        *(("-H", f"Authorization: Bearer {token}") if token else ()),
        f"http://127.0.0.1:{target.port}{_path(target)}",
    ]
    ended = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, check=True, timeout=60
    )
    counted = json.loads(ended.stdout.splitlines()[-1])
    asked = counted["requests"]
    if not asked or counted["errors"] or counted["bytes"] < asked * len(manifest):
        raise RuntimeError(f"{target.name}: GET with {connections} connections: {counted}")
    return Load(asked / counted["microseconds"] * 1e6, counted["p99"] / 1000)


def _check(target: Target, token: str, manifest: bytes, method: str) -> None:
    with Connection(target, token) as connection:
        answer = connection.ask(method, _path(target), f"Accept: {MANIFEST_TYPE}\r\n")
        body = connection.body(answer) if method == "GET" else manifest
    length = int(answer.headers["content-length"])
    if answer.status != 200 or body != manifest or length != len(manifest):  # noqa: PLR2004  OK
        raise RuntimeError(f"{target.name}: {method} answered {answer.status}, {length} bytes")


def _path(target: Target) -> str:
    return f"/v2/{target.repository}/manifests/{TAG}"


def _name(method: str, connections: int) -> str:
    return f"manifest {method} by tag, {connections} connection{'s' if connections > 1 else ''}"
