"""Blobs of random bytes that are the same in each run, and how they come to servers quickly."""

from collections.abc import Sequence
from functools import partial
from random import Random  # noqa: TID251  seeded: the same blobs each time
from typing import Final

from bench.processes import at_once
from bench.wire import Connection, Target, framed, push, sha256, token_for

SEED: Final = 1
BLOB_BYTES: Final = 4_000_000
BLOBS_MIN: Final = 8
PUSHERS: Final = 2


def blob(number: int) -> bytes:
    """Return one of them."""
    return Random(f"{SEED} {number}").randbytes(BLOB_BYTES)  # noqa: S311  nothing here is a secret


def push_blobs(targets: Sequence[Target], size: float) -> list[tuple[str, int]]:
    """Push blobs of so many bytes together, each through one target; return digests and lengths."""
    count = max(BLOBS_MIN, int(size / BLOB_BYTES))
    at_once([partial(_push, targets, range(n, count, PUSHERS)) for n in range(PUSHERS)])
    return [(sha256(blob(number)), BLOB_BYTES) for number in range(count)]


def _push(targets: Sequence[Target], numbers: range) -> None:
    for n, target in enumerate(targets):
        with Connection(target, token_for(target)) as connection:
            for number in numbers[n :: len(targets)]:
                data = blob(number)
                push(connection, target, sha256(data), framed(data))
