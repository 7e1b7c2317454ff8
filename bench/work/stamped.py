"""Pushing layers that nobody holds as a whole: made while they are sent.

Their bytes differ from each other everywhere: one random block for each push, and a number stamped
into every 4 KiB of it, so that no two chunks are alike.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from bench.wire import Connection, Target, framed, path_of, with_digest

BLOCK_BYTES: Final = 2 << 20
STAMP_EVERY_BYTES: Final = 4096
LAST_CHUNK: Final = b"0\r\n\r\n"


def push_stamped(target: Target, token: str, size: int, seed: bytes = b"") -> str:
    """Push so many bytes by a chunked PATCH, those of the seed or new ones; return the digest."""
    hasher = hashlib.sha256()
    with Connection(target, token) as connection:
        begun = connection.expect(202, "POST", f"/v2/{target.repository}/blobs/uploads/")
        path = path_of(begun.headers["location"])
        connection.socket.sendall(
            connection.request("PATCH", path, "Transfer-Encoding: chunked\r\n")
        )
        for block in _blocks(size, seed or os.urandom(BLOCK_BYTES)):
            hasher.update(block)
            connection.socket.sendall(framed(block).removesuffix(LAST_CHUNK))
        connection.socket.sendall(LAST_CHUNK)
        sent = connection.header()
        digest = f"sha256:{hasher.hexdigest()}"
        connection.expect(201, "PUT", with_digest(path_of(sent.headers["location"]), digest))
    return digest


def _blocks(size: int, seed: bytes) -> Iterator[bytearray]:
    block = bytearray(seed)
    for number in range(0, size, len(block)):
        stamp = number.to_bytes(8)
        for at in range(0, len(block), STAMP_EVERY_BYTES):
            block[at : at + len(stamp)] = stamp
        yield block if number + len(block) <= size else block[: size - number]
