"""Parts of a large layer at random offsets, one after the other on one connection.

All registries get the same offsets. The requests are made before the clock runs.
"""

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least
from bench.wire import Connection, Target, token_for
from bench.work.layers import Layer

KIB: Final = 1024
SIZES: Final = {64 * KIB: ("64 KiB", 1200), 1024 * KIB: ("1 MiB", 300)}
"""Bytes of a part: its name, how many in a round."""
HEADER_BYTES: Final = 8192


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure parts read a second."""
    layer = Layer(effort.layer_bytes)
    with side_by_side(root, "ranges", effort) as targets:
        for target in targets.all:
            layer.push(target, 0)
        steps = [
            partial(_read_parts, layer, size, _offsets(layer.size - size, effort.of(count)))
            for size, (_, count) in SIZES.items()
        ]
        figures = targets.measure(effort.rounds, steps)
    return [figures.row(_name(size), "parts/s", at_least(1.0, NAMED)) for size in SIZES]


def _read_parts(
    layer: Layer, size: int, offsets: Sequence[int], target: Target, _: int
) -> Mapping[str, float]:
    with Connection(target, token_for(target)) as connection:
        path = f"/v2/{target.repository}/blobs/{layer.digest}"
        requests = [
            connection.request("GET", path, f"Range: bytes={at}-{at + size - 1}\r\n")
            for at in offsets
        ]
        buffer = memoryview(bytearray(HEADER_BYTES + size))
        began = time.perf_counter()
        for request in requests:
            connection.socket.sendall(request)
            _read_part(connection, buffer, size)
        seconds = time.perf_counter() - began
    return {_name(size): len(requests) / seconds}


def _read_part(connection: Connection, buffer: memoryview, size: int) -> None:
    """Read one answer; raises RuntimeError unless it is the part asked for, of its length."""
    received = connection.socket.recv_into(buffer)
    start = bytes(buffer[: min(received, HEADER_BYTES)])
    while (end := start.find(b"\r\n\r\n")) < 0:
        count = connection.socket.recv_into(buffer[received:])
        if not count:
            raise ConnectionError("the server hung up")
        received += count
        start = bytes(buffer[: min(received, HEADER_BYTES)])
    if start[9:12] != b"206" or b"content-length: %d\r\n" % size not in start[: end + 2].lower():
        raise RuntimeError(f"a part of {size} bytes was answered with {start[:end]!r}")
    wanted = end + 4 + size
    while received < wanted:
        count = connection.socket.recv_into(buffer[received:])
        if not count:
            raise ConnectionError(f"the part broke off after {received} bytes")
        received += count


def _offsets(span: int, count: int) -> list[int]:
    return [int.from_bytes(os.urandom(8)) % span for _ in range(count)]


def _name(size: int) -> str:
    return f"read parts of {SIZES[size][0]}, one connection"
