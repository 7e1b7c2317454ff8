"""Manifest GET by tag: requests a second and the 99th percentile, measured by wrk.

wrk (one thread) is what costs least beside a server on the same cores. It counts every status over
399, broken connection and timeout as an error; one error fails the run. A length too short fails
it too, and one answer before each run is read and compared byte by byte.
"""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from bench.wire import Connection, Target, push

SCRIPT: Final = Path(__file__).with_name("manifests.lua")
METHODS: Final = ("GET",)
"""Not HEAD: wrk waits for the body that Content-Length announces and counts no answer."""
CONNECTIONS: Final = (1, 32, 256)
MEDIA_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
layer_bytes: Final = 1024


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk measured."""

    per_second: float
    p50_ms: float
    p99_ms: float


def publish(target: Target, token: str) -> bytes:
    """Push a tiny image as the tag `bench`; return its manifest."""
    config, layer = b"{}", os.urandom(layer_bytes)
    for data in (config, layer):
        push(target, token, data, _digest(data))
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    connection = Connection(target, token)
    headers = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(manifest)}\r\n"
    answer = connection.ask("PUT", _path(target), headers, manifest)
    connection.close()
    if answer.status != HTTPStatus.CREATED:
        raise RuntimeError(f"{target.name}: PUT of a manifest answered {answer.status}")
    return manifest


def load(
    target: Target, token: str, manifest: bytes, method: str, connections: int, seconds: int
) -> Load:
    """Ask for the tag over and over; raises RuntimeError unless every answer was right."""
    _check(target, token, manifest, method)
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), "-H", f"Accept: {MEDIA_TYPE}"),
        *(("-H", f"Authorization: Bearer {token}") if token else ()),
        f"http://127.0.0.1:{target.port}{_path(target)}",
    ]
    environment = {**os.environ, "BENCH_METHOD": method}
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=seconds + 60
    )
    counted = json.loads(ended.stdout.splitlines()[-1])
    least = len(manifest) if method == "GET" else 1
    if (
        not counted["requests"]
        or counted["errors"]
        or counted["bytes"] < counted["requests"] * least
    ):
        raise RuntimeError(f"{target.name}: {method} with {connections} connections: {counted}")
    return Load(
        counted["requests"] / counted["microseconds"] * 1e6,
        counted["p50"] / 1000,
        counted["p99"] / 1000,
    )


def _check(target: Target, token: str, manifest: bytes, method: str) -> None:
    connection = Connection(target, token)
    answer = connection.ask(method, _path(target), f"Accept: {MEDIA_TYPE}\r\n")
    body = connection.body(answer) if method == "GET" else manifest
    connection.close()
    length = int(answer.headers["content-length"])
    if answer.status != HTTPStatus.OK or body != manifest or length != len(manifest):
        raise RuntimeError(f"{target.name}: {method} answered {answer.status}, {length} bytes")


def _path(target: Target) -> str:
    return f"/v2/{target.repository}/manifests/bench"


def _descriptor(media_type: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
