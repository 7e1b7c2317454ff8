"""Peak memory of all server processes while 16 clients push and 16 pull 1 GB each at once.

Sampled: PSS, where a page shared by some counts once, and RSS, where it counts for each. The pushed
bytes differ from each other everywhere: one random block per client, and a number stamped into
every 4 KiB of it, so that the clients hold little and no two chunks are alike.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import treescale
from bench.processes import Memory, memory, start
from bench.rows import Effort, Row, at_most
from bench.wire import Connection, Target, framed, path_of, pull, token_for, with_digest

CLIENTS: Final = 16
LAYER_BYTES: Final = 1_000_000_000
BLOCK_BYTES: Final = 2 << 20
STAMP_EVERY_BYTES: Final = 4096
SAMPLE_SECONDS: Final = 0.2
LAST_CHUNK: Final = b"0\r\n\r\n"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure the peak."""
    size = effort.of(LAYER_BYTES)
    place = root / "memory"
    place.mkdir()
    with treescale(place / "treescale") as target:
        token = token_for(target)
        digest = _push(target, token, size)
        clients = start(
            [
                *[partial(_push, target, token, size)] * CLIENTS,
                *[partial(pull, target, token, digest, size)] * CLIENTS,
            ]
        )
        samples: list[Memory] = []
        running = True
        while running:
            samples.append(memory(target.pid))
            running = clients.running(SAMPLE_SECONDS)
        clients.ended()
    work = f"peak memory, {CLIENTS} pushes and {CLIENTS} pulls of {size / 1e9:g} GB at once"
    bar = at_most(500.0)
    return [
        Row(f"{work} (PSS)", "MB", bar, [max(one.pss_mb for one in samples)]),
        Row(f"{work} (RSS)", "MB", bar, [max(one.rss_mb for one in samples)]),
    ]


def _blocks(size: int) -> Iterator[bytearray]:
    block = bytearray(os.urandom(BLOCK_BYTES))
    for number in range(0, size, BLOCK_BYTES):
        stamp = number.to_bytes(8)
        for at in range(0, BLOCK_BYTES, STAMP_EVERY_BYTES):
            block[at : at + len(stamp)] = stamp
        yield block if number + BLOCK_BYTES <= size else block[: size - number]


def _push(target: Target, token: str, size: int) -> str:
    hasher = hashlib.sha256()
    with Connection(target, token) as connection:
        begun = connection.expect(202, "POST", f"/v2/{target.repository}/blobs/uploads/")
        path = path_of(begun.headers["location"])
        connection.socket.sendall(
            connection.request("PATCH", path, "Transfer-Encoding: chunked\r\n")
        )
        for block in _blocks(size):
            hasher.update(block)
            connection.socket.sendall(framed(block).removesuffix(LAST_CHUNK))
        connection.socket.sendall(LAST_CHUNK)
        sent = connection.header()
        digest = f"sha256:{hasher.hexdigest()}"
        connection.expect(201, "PUT", with_digest(path_of(sent.headers["location"]), digest))
    return digest
