"""The records of a backup: what it is of, then table by table the rows, then proof of the whole.

    record = kind, 1 byte | length of the body, 4 bytes, big-endian | body, MessagePack
    stream = header, (table, rows…)…, end

The end has the number of rows of each table, and the BLAKE3 of every byte before it: a stream
without an end is cut short, one with another sum was altered. docs/formats.md has each body. Pure:
whoever reads hands in what reads.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from blake3 import blake3

from treescale.errors import BackupInvalid

Values = tuple[Any, ...]
Decode = Callable[[bytes], list[Values]]
Read = Callable[[int], bytes]
"""Return so many bytes, fewer only at the end of all."""

RECORD_BYTES: Final = 16 * 1024 * 1024
"""Rows are cut into records of no more, unless a single one has more."""
RECORD_BYTES_MAX: Final = 2**30
PIECE_BYTES: Final = 1024 * 1024
"""So much is asked for at once: a length that lies takes no memory."""
_HEAD_BYTES: Final = 5
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_HEADER: Final = b"H"
_TABLE: Final = b"T"
_ROWS: Final = b"R"
_END: Final = b"E"

CUT: Final = "the backup is cut short: nothing was restored. Copy it again, or take an older one"
ALTERED: Final = (
    "the backup is damaged or was altered: nothing was restored. Copy it again, or take another one"
)


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a backup is of."""

    schema: str
    taken: float
    """By the database's clock, UTC."""
    engine: str
    version: str
    """Of the TreeScale that made it."""
    commits: int | None = None
    """SQLite: the number of the last commit that is in it."""
    file: str | None = None
    """SQLite: where the file was."""
    cluster: str = ""
    """What tells the cluster from others, and none of its secrets."""


class TableRecord(msgspec.Struct, frozen=True):
    """The rows that follow are this table's."""

    name: str
    columns: tuple[str, ...]
    last_id: int
    """The highest row id that was given out, 0 when none is."""


class End(msgspec.Struct, frozen=True):
    """What was before it."""

    rows: dict[str, int]
    blake3: bytes


Body = TypeVar("Body")


class Encoder:
    """The records of one backup, in their order."""

    def __init__(self) -> None:
        self._sum = blake3()
        self._rows: dict[str, int] = {}
        self._table = ""
        self._encode = msgspec.msgpack.Encoder().encode

    @property
    def rows(self) -> dict[str, int]:
        """Return how many rows of each table there were so far."""
        return dict(self._rows)

    def header(self, header: Header) -> bytes:
        """Return the record that is first."""
        return self._record(_HEADER, self._encode(header))

    def table(self, table: TableRecord) -> bytes:
        """Return the record that begins a table."""
        self._table = table.name
        self._rows[table.name] = 0
        return self._record(_TABLE, self._encode(table))

    def add(self, rows: Sequence[Values]) -> Iterator[bytes]:
        """Yield records of rows of that table."""
        body = self._encode(rows)
        if len(body) > RECORD_BYTES and len(rows) > 1:
            half = len(rows) // 2
            yield from self.add(rows[:half])
            yield from self.add(rows[half:])
            return
        self._rows[self._table] += len(rows)
        yield self._record(_ROWS, body)

    def end(self) -> bytes:
        """Return the record that is last."""
        return self._record(_END, self._encode(End(self._rows, self._sum.digest())))

    def _record(self, kind: bytes, body: bytes) -> bytes:
        record = kind + len(body).to_bytes(4, "big") + body
        self._sum.update(record)
        return record


class Decoder:
    """Reads the records of one backup; `header` at once, the rest as it is iterated.

    Everything raises BackupInvalid when the records are not as they were written. Only the end of
    the iteration says that the whole is sound.
    """

    def __init__(self, read: Read, decode_of: Callable[[TableRecord], Decode]) -> None:
        self._read = read
        self._decode_of = decode_of
        self._sum = blake3()
        self.rows: dict[str, int] = {}
        kind, body = self._next()
        if kind != _HEADER:
            raise BackupInvalid(ALTERED)
        self.header = _decoded(body, Header)

    def __iter__(self) -> Iterator[TableRecord | list[Values]]:
        """Yield each table, and after it its rows."""
        name, decode = "", None
        while True:
            before = self._sum.digest()
            kind, body = self._next()
            if kind == _TABLE:
                table = _decoded(body, TableRecord)
                if table.name in self.rows:
                    raise BackupInvalid(ALTERED)
                name, decode = table.name, self._decode_of(table)
                self.rows[name] = 0
                yield table
            elif kind == _ROWS and decode is not None:
                rows = _rows(decode, body)
                self.rows[name] += len(rows)
                yield rows
            elif kind == _END:
                self._check_end(_decoded(body, End), before)
                return
            else:
                raise BackupInvalid(ALTERED)

    def _check_end(self, end: End, digest: bytes) -> None:
        if end.blake3 != digest or end.rows != self.rows or self._read(1):
            raise BackupInvalid(ALTERED)

    def _next(self) -> tuple[bytes, bytes]:
        head = self._exactly(_HEAD_BYTES)
        length = int.from_bytes(head[1:], "big")
        if length > RECORD_BYTES_MAX:
            raise BackupInvalid(ALTERED)
        body = self._exactly(length)
        self._sum.update(head)
        self._sum.update(body)
        return head[:1], body

    def _exactly(self, count: int) -> bytes:
        pieces, left = [], count
        while left:
            piece = self._read(min(left, PIECE_BYTES))
            if not piece:
                raise BackupInvalid(CUT)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


def _decoded(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except _UNREADABLE as error:
        raise BackupInvalid(ALTERED) from error


def _rows(decode: Decode, body: bytes) -> list[Values]:
    try:
        return decode(body)
    except _UNREADABLE as error:
        raise BackupInvalid(ALTERED) from error
