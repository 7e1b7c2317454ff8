"""The words of the wire between servers: paths, limits, errors and bodies (docs/formats.md).

Both ends read and write them here and nowhere else. A path is matched whole and as it came, never
decoded, so what comes out is safe in a file's name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

import msgspec

from treescale.chunks.store import CHUNK_BYTES_MAX
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    Failed,
    Refused,
    RequestInvalid,
    StoreFull,
    StoreUnusable,
    TooLarge,
    TooMany,
    Unauthorized,
    Unreachable,
    Unsupported,
)

PREFIX: Final = "/peer/v1/"
REQUEST_HEADER: Final = "TreeScale-Request"
ANSWER_HEADER: Final = "TreeScale-Answer"

CHUNK_ID_BYTES: Final = 32
chunks_asked_max: Final = 4096
"""Ids in one `have`."""
partitions_listed_max: Final = 16
"""Partitions in one `list`: 1/256 of a store, what a disk store holds in memory to list it."""
list_bytes_max: Final = 64 * 1024 * 1024
"""Two million ids, of a store with 500 million chunks."""
known_bytes_max: Final = 8 * 1024 * 1024
"""A manifest of 4 MiB, as JSON writes it; a recipe of 170,000 chunks."""
small_bytes_max: Final = 4096
"""Any answer but a chunk, a list and an answer to `have`."""
message_characters_max: Final = 500
_PARTITIONS: Final = 4096
_PARTITION_BYTES: Final = 2


class Action(Enum):
    """What one server may ask another: method, and path below PREFIX."""

    PING = "GET", "ping"
    USAGE = "GET", "stores/{store}/usage"
    RESERVE = "POST", "stores/{store}/reserve/{size}"
    HAVE = "POST", "stores/{store}/have"
    LIST = "POST", "stores/{store}/list"
    PUT = "PUT", "stores/{store}/chunks/{chunk}"
    GET = "GET", "stores/{store}/chunks/{chunk}"
    DELETE = "DELETE", "stores/{store}/chunks/{chunk}"
    VERIFY = "POST", "stores/{store}/chunks/{chunk}/verify"
    KNOWN = "POST", "known"

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return self.value[0]


BODY_BYTES_MAX: Final[Mapping[Action, int]] = {
    Action.PUT: CHUNK_BYTES_MAX,
    Action.HAVE: chunks_asked_max * CHUNK_ID_BYTES,
    Action.LIST: partitions_listed_max * _PARTITION_BYTES,
    Action.KNOWN: small_bytes_max,
}
"""Requests that have a body, and how long it may be."""

ANSWER_BYTES_MAX: Final[Mapping[Action, int]] = {
    Action.GET: CHUNK_BYTES_MAX,
    Action.HAVE: chunks_asked_max // 8,
    Action.LIST: list_bytes_max,
    Action.KNOWN: known_bytes_max,
}
"""Answers that may be longer, or must be shorter, than `small_bytes_max`; errors are small."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. Fields its action has no use for are empty."""

    action: Action
    store: str = ""
    chunk: bytes = b""
    size: int = 0

    @property
    def path(self) -> str:
        """Return the path to ask for."""
        _, template = self.action.value
        return PREFIX + template.format(store=self.store, chunk=self.chunk.hex(), size=self.size)


_FIELDS: Final = {
    "store": "(?P<store>[A-Za-z0-9_-]{1,64})",
    "chunk": "(?P<chunk>[0-9a-f]{64})",
    "size": "(?P<size>[0-9]{1,10})",
}
_PATHS: Final = [
    (action, re.compile(PREFIX + action.value[1].format(**_FIELDS))) for action in Action
]


def read_target(method: str, path: str) -> Target:
    """Return what is asked for; raises RequestInvalid for no such path, Unsupported for a method.

    `path` is the request's target as it came, query included: nothing here has one.
    """
    found = [(action, match) for action, pattern in _PATHS if (match := pattern.fullmatch(path))]
    if not found:
        raise RequestInvalid("no such path between servers; are they of different versions?")
    for action, match in found:
        if action.method == method:
            fields = match.groupdict()
            return Target(
                action,
                fields.get("store", ""),
                bytes.fromhex(fields.get("chunk", "")),
                int(fields.get("size", 0)),
            )
    allowed = tuple(action.method for action, _ in found)
    raise Unsupported(f"use {' or '.join(allowed)} here", allowed=allowed)


# Errors

ERRORS: Final[Sequence[tuple[str, type[Exception], HTTPStatus]]] = [
    ("ChunkUnknown", ChunkUnknown, HTTPStatus.NOT_FOUND),
    ("Corrupt", Corrupt, HTTPStatus.UNPROCESSABLE_ENTITY),
    ("StoreFull", StoreFull, HTTPStatus.INSUFFICIENT_STORAGE),
    ("StoreUnusable", StoreUnusable, HTTPStatus.SERVICE_UNAVAILABLE),
    ("Late", Unreachable, HTTPStatus.GATEWAY_TIMEOUT),
    ("Busy", TooMany, HTTPStatus.SERVICE_UNAVAILABLE),
    ("NotTrusted", Unauthorized, HTTPStatus.UNAUTHORIZED),
    ("TooLarge", TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ("Unsupported", Unsupported, HTTPStatus.METHOD_NOT_ALLOWED),
    ("Invalid", Refused, HTTPStatus.BAD_REQUEST),
    ("Failed", Failed, HTTPStatus.INTERNAL_SERVER_ERROR),
]
"""Each error's name and status: the first row that an error is an instance of."""

_TOLD: Final[Mapping[str, type[Failed]]] = {
    "ChunkUnknown": ChunkUnknown,
    "Corrupt": Corrupt,
    "StoreFull": StoreFull,
    "StoreUnusable": StoreUnusable,
}
"""What a caller is told as it is. After any other, another server is to be asked."""


class _ErrorBody(msgspec.Struct):
    error: str
    message: str


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping: who answers, and a text that is another after each start."""

    server: str
    boot: str


def write_error(error: Exception) -> tuple[int, bytes]:
    """Return status and body; what nobody foresaw is Failed, and nothing of its text is told."""
    for name, kind, status in ERRORS:
        if isinstance(error, kind):
            message = str(error)[:message_characters_max]
            return status, msgspec.json.encode(_ErrorBody(name, message))
    return write_error(Failed("internal error; that server's log says more"))


def read_error(peer: str, status: int, body: bytes) -> Failed:
    """Return the error that an answer stands for; Unreachable for all that another may do."""
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.DecodeError:
        return Unreachable(f"server {peer} answered {status}")
    message = found.message[:message_characters_max]
    return _TOLD.get(found.error, Unreachable)(f"server {peer}: {message}")


def read_unsigned(peer: str, status: int, body: bytes) -> Unreachable:
    """Return the error for an answer without the cluster's signature; its text is hearsay."""
    said = read_error(peer, status, body)
    return Unreachable(f"what answers there has not this cluster's key, and says {status}: {said}")


# Bodies


def read_ids(data: bytes) -> list[bytes]:
    """Return the chunk ids of a body; raises ValueError when it is cut short."""
    return _cut(data, CHUNK_ID_BYTES)


def write_partitions(partitions: Iterable[int]) -> bytes:
    """Return the body of a `list`."""
    return b"".join(number.to_bytes(_PARTITION_BYTES) for number in partitions)


def read_partitions(data: bytes) -> list[int]:
    """Return the partitions of a body; raises ValueError when it has none or no real ones."""
    found = [int.from_bytes(piece) for piece in _cut(data, _PARTITION_BYTES)]
    if not found or max(found) >= _PARTITIONS:
        raise ValueError(f"partitions are numbers from 0 to {_PARTITIONS - 1}")
    return found


def write_bits(flags: Sequence[bool]) -> bytes:
    """Return a bitmap, the first flag in the highest bit of the first byte."""
    bits = bytearray(-(-len(flags) // 8))
    for at, flag in enumerate(flags):
        if flag:
            bits[at // 8] |= 0x80 >> at % 8
    return bytes(bits)


def read_bits(data: bytes, count: int) -> list[bool]:
    """Return `count` flags; raises ValueError when the bitmap is of another length."""
    if len(data) != -(-count // 8):
        raise ValueError(f"{len(data)} bytes cannot answer {count} questions")
    return [bool(data[at // 8] & (0x80 >> at % 8)) for at in range(count)]


def _cut(data: bytes, size: int) -> list[bytes]:
    if len(data) % size:
        raise ValueError(f"a body of {len(data)} bytes does not consist of pieces of {size}")
    return [data[at : at + size] for at in range(0, len(data), size)]


# What an answer looks like without an HTTP library

_HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3})(?: [^\r\n]*)?\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)
_SIGNATURE: Final = re.compile(
    rb"\r\n" + ANSWER_HEADER.encode() + rb": *([0-9a-f]{64})\r\n", re.IGNORECASE
)


def read_head(head: bytes, length_max: int = small_bytes_max) -> tuple[int, int, str | None]:
    """Return status, body length and signature of an answer's head.

    Raises ValueError for no such head, and for a longer body.
    """
    status, length = _HEAD.match(head), _LENGTH.search(head)
    signature = _SIGNATURE.search(head)
    if status is None or length is None:
        raise ValueError("that is not an answer")
    if int(length[1]) > length_max:
        raise ValueError(f"{int(length[1])} bytes are not an answer")
    return int(status[1]), int(length[1]), signature[1].decode() if signature else None
