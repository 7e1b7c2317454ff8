"""The words of the wire between servers: paths, limits, errors and bodies (docs/formats.md).

Both ends read and write them here and nowhere else. A path is matched whole and as it came, never
decoded, so what comes out is safe in a file's name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes
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
from treescale.peer.signing import NO_BODY, ClocksApart, SignedRequest, Signer, body_digest
from treescale.tracing import HEADER as TRACE_HEADER

PREFIX: Final = "/peer/v1/"
REQUEST_HEADER: Final = "TreeScale-Request"
ANSWER_HEADER: Final = "TreeScale-Answer"

CHUNK_ID_BYTES: Final = 32
CHUNKS_ASKED_MAX: Final = 4096
"""Ids in one `have`."""
CHUNKS_KEPT_MAX: Final = 64
"""Ids in one `keep`: each chunk may have to be read and hashed."""
PARTITIONS_LISTED_MAX: Final = 16
"""Partitions in one `list`: 1/256 of a store, what a disk store holds in memory to list it."""
LIST_BYTES_MAX: Final = 64 * 1024 * 1024
"""Two million ids, of a store with 500 million chunks."""
KNOWN_BYTES_MAX: Final = 8 * 1024 * 1024
"""A manifest of 4 MiB, as JSON writes it; a recipe of 170,000 chunks."""
SMALL_BYTES_MAX: Final = 4096
"""Any answer but a chunk, a list and an answer to `have`."""
MESSAGE_CHARACTERS_MAX: Final = 500
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
    VERIFY = "POST", "stores/{store}/chunks/{chunk}/verify"
    KEEP = "POST", "stores/{store}/keep"
    KNOWN = "POST", "known"

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return self.value[0]


BODY_BYTES_MAX: Final[Mapping[Action, int]] = {
    Action.PUT: CHUNK_BYTES_MAX,
    Action.HAVE: CHUNKS_ASKED_MAX * CHUNK_ID_BYTES,
    Action.KEEP: CHUNKS_KEPT_MAX * CHUNK_ID_BYTES,
    Action.LIST: PARTITIONS_LISTED_MAX * _PARTITION_BYTES,
    Action.KNOWN: SMALL_BYTES_MAX,
}
"""Requests that have a body, and how long it may be."""

ANSWER_BYTES_MAX: Final[Mapping[Action, int]] = {
    Action.GET: CHUNK_BYTES_MAX,
    Action.HAVE: CHUNKS_ASKED_MAX // 8,
    Action.KEEP: CHUNKS_KEPT_MAX // 8,
    Action.LIST: LIST_BYTES_MAX,
    Action.KNOWN: KNOWN_BYTES_MAX,
}
"""Answers that may be longer, or must be shorter, than `SMALL_BYTES_MAX`; errors are small."""


@dataclass(frozen=True, slots=True)
class PeerRequest:
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


def read_request(method: str, path: str) -> PeerRequest:
    """Return what is asked for; raises RequestInvalid for no such path, Unsupported for a method.

    `path` is the request's target as it came, query included: nothing here has one.
    """
    found = [(action, match) for action, pattern in _PATHS if (match := pattern.fullmatch(path))]
    if not found:
        raise RequestInvalid("no such path between servers; are they of different versions?")
    for action, match in found:
        if action.method == method:
            fields = match.groupdict()
            return PeerRequest(
                action,
                fields.get("store", ""),
                bytes.fromhex(fields.get("chunk", "")),
                int(fields.get("size", 0)),
            )
    allowed = tuple(action.method for action, _ in found)
    raise Unsupported(f"use {' or '.join(allowed)} here", allowed=allowed)


# Errors

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no value of the kind asked for."""
_CLOCKS_APART: Final = "ClocksApart"
_NOT_TRUSTED: Final = "NotTrusted"
ERRORS: Final[Sequence[tuple[str, type[Exception], HTTPStatus]]] = [
    ("ChunkUnknown", ChunkUnknown, HTTPStatus.NOT_FOUND),
    ("Corrupt", Corrupt, HTTPStatus.UNPROCESSABLE_ENTITY),
    ("StoreFull", StoreFull, HTTPStatus.INSUFFICIENT_STORAGE),
    ("StoreUnusable", StoreUnusable, HTTPStatus.SERVICE_UNAVAILABLE),
    ("Late", Unreachable, HTTPStatus.GATEWAY_TIMEOUT),
    ("Busy", TooMany, HTTPStatus.SERVICE_UNAVAILABLE),
    (_CLOCKS_APART, ClocksApart, HTTPStatus.UNAUTHORIZED),
    (_NOT_TRUSTED, Unauthorized, HTTPStatus.UNAUTHORIZED),
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


class PeerRefuses(Unreachable):
    """A server answers, and does not take us for one of its cluster; `clock`: our clocks differ."""

    def __init__(self, message: str, *, clock: bool) -> None:
        super().__init__(message)
        self.clock = clock


class _ErrorBody(msgspec.Struct):
    error: str
    message: str


class Pong(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a ping: who answers, and a text that is another after each start."""

    server: str
    boot: str
    walk_bytes_per_second: int = 0
    """What the walk of another server may move while clients of this one are at work; 0 is no
    limit, and what a server of 0.1.0 says."""


def write_error(error: Exception) -> tuple[int, bytes]:
    """Return status and body; what nobody foresaw is Failed, and nothing of its text is told."""
    for name, kind, status in ERRORS:
        if isinstance(error, kind):
            message = str(error)[:MESSAGE_CHARACTERS_MAX]
            return status, msgspec.json.encode(_ErrorBody(name, message))
    return write_error(Failed("internal error; that server's log says more"))


def read_error(peer: str, status: int, body: bytes) -> Failed:
    """Return the error that an answer stands for; Unreachable for all that another may do."""
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except UNREADABLE:
        return Unreachable(f"server {peer} answered {status}")
    message = found.message[:MESSAGE_CHARACTERS_MAX]
    if found.error == _CLOCKS_APART:
        return PeerRefuses(f"server {peer}: {message}", clock=True)
    return _TOLD.get(found.error, Unreachable)(f"server {peer}: {message}")


def read_unsigned(peer: str, status: int, body: bytes) -> Unreachable:
    """Return the error for an answer without the cluster's signature; its text is hearsay."""
    said = read_error(peer, status, body)
    text = f"what answers there has not this cluster's key, and says {status}: {said}"
    # Only a server of ours says it in these words; anything else may be at a wrong address.
    return PeerRefuses(text, clock=False) if _is_not_trusted(body) else Unreachable(text)


def _is_not_trusted(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error == _NOT_TRUSTED
    except msgspec.DecodeError:
        return False


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


# HTTP without a library: what is sent, and what is understood of an answer

_HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3})(?: [^\r\n]*)?\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)
_SIGNATURE: Final = re.compile(
    rb"\r\n" + ANSWER_HEADER.encode() + rb": *([0-9a-f]{64})\r\n", re.IGNORECASE
)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class AnswerHead(NamedTuple):
    """What is understood of an answer's head."""

    status: int
    length: int
    signature: str | None
    closes: bool
    """Whether the connection ends with this answer."""


@dataclass(frozen=True, slots=True)
class Received:
    """An answer: its status, the signature in its head, its body."""

    status: int
    signature: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as it is sent, without its body, and what its answer is recognised by."""

    peer: str
    action: Action
    head: bytes
    signed: SignedRequest

    def check(self, answer: Received) -> None:
        """Raise Unreachable unless this is the signed answer to this very request.

        The signature does not bind the bytes of a chunk: whoever asked for it by name does.
        """
        is_chunk = self.action is Action.GET and answer.status == HTTPStatus.OK
        digest = NO_BODY if is_chunk else body_digest(answer.body)
        length = len(answer.body)
        if not self.signed.is_answered_by(answer.signature, answer.status, length, digest):
            raise read_unsigned(self.peer, answer.status, answer.body)


def write_request(
    signer: Signer,
    request: PeerRequest,
    host: str,
    body: Bytes = b"",
    *,
    deadline_ms: int,
    trace: str = "",
) -> SentRequest:
    """Return a signed request; `host` is as a Host header has it.

    `trace` names the span that asks, for the other server's own; it is no part of what is signed.
    """
    method, path, length = request.action.method, request.path, len(body)
    digest = NO_BODY if request.action is Action.PUT else body_digest(body)
    signed = signer.sign(method, path, length=length, body=digest, deadline_ms=deadline_ms)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{REQUEST_HEADER}: {signed.header}\r\n"
    if trace:
        head += f"{TRACE_HEADER}: {trace}\r\n"
    if method != "GET":
        head += f"Content-Length: {length}\r\n"
    return SentRequest(signer.addressee, request.action, f"{head}\r\n".encode(), signed)


def read_head(head: bytes, length_max: int = SMALL_BYTES_MAX) -> AnswerHead:
    """Read an answer's head; raises ValueError for no such head, and for too long a body.

    `length_max` is for an answer of status 200: an error is small.
    """
    status, length = _HEAD.match(head), _LENGTH.search(head)
    if status is None or length is None:
        raise ValueError("that is not an answer")
    found, signature = int(status[1]), _SIGNATURE.search(head)
    if int(length[1]) > (length_max if found == HTTPStatus.OK else SMALL_BYTES_MAX):
        raise ValueError(f"{int(length[1])} bytes are not an answer")
    return AnswerHead(
        found,
        int(length[1]),
        signature[1].decode() if signature else None,
        _CLOSE.search(head) is not None,
    )
