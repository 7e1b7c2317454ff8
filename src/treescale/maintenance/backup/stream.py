"""A backup as bytes of a file: a first line that says how to read it, and then what was written.

TreeScale backup 1 zstd          Zstandard of the records
TreeScale backup 1 zstd sealed   the head of `sealing`, then its segments of the same
"""

from collections.abc import Callable
from typing import IO, Final, cast

import zstandard

from treescale.errors import BackupInvalid
from treescale.maintenance.backup.records import ALTERED, Read
from treescale.maintenance.backup.sealing import (
    HEAD_BYTES,
    LOG_N,
    SALT_BYTES,
    Sealer,
    Unsealer,
    derived,
    head_of,
    keys_of,
)

VERSION: Final = 1
PLAIN: Final = b"TreeScale backup 1 zstd\n"
SEALED: Final = b"TreeScale backup 1 zstd sealed\n"
LEVEL: Final = 3
WINDOW_BYTES_MAX: Final = 2**27
_BEGIN: Final = b"TreeScale backup "
_LINE_BYTES_MAX: Final = 64

_NONE: Final = "this is no backup of TreeScale: its first line does not say so"
_NEWER: Final = (
    "the backup was made by a newer TreeScale ({line}): restore it with that version, or upgrade "
    "this one"
)
_SEALED: Final = "the backup is encrypted: say --passphrase-file FILE"
_NOT_SEALED: Final = (
    "the backup is not encrypted, and a passphrase was given: if it should be encrypted somebody "
    "has replaced it; else leave --passphrase-file out"
)

Write = Callable[[bytes], object]


class Writer:
    """Compresses, and seals when there is a passphrase; whole only once it was closed."""

    def __init__(
        self,
        write: Write,
        passphrase: bytes | None = None,
        *,
        random: Callable[[int], bytes],
        log_n: int = LOG_N,
    ) -> None:
        self._write = write
        self._sealer: Sealer | None = None
        self.bytes = 0
        if passphrase is None:
            self._put(PLAIN)
        else:
            salt = random(SALT_BYTES)
            keys = derived(passphrase, salt, log_n)
            self._put(SEALED + head_of(SEALED, keys, salt, log_n))
            self._sealer = Sealer(keys)
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def write(self, data: bytes) -> None:
        """Take bytes of records."""
        self._pass_on(self._zstd.compress(data))

    def close(self) -> None:
        """Write what is left; nothing can be written after it."""
        self._pass_on(self._zstd.flush())
        if self._sealer is not None:
            self._put(self._sealer.end())

    def _pass_on(self, data: bytes) -> None:
        if self._sealer is None:
            self._put(data)
            return
        for segment in self._sealer.seal(data):
            self._put(segment)

    def _put(self, data: bytes) -> None:
        self.bytes += len(data)
        self._write(data)


class Reader:
    """Opens, and decompresses; raises BackupInvalid for what `Writer` has not written."""

    def __init__(self, read: Read, passphrase: bytes | None = None) -> None:
        self._read = read
        self.bytes = 0
        line = self._line()
        if line == SEALED:
            if passphrase is None:
                raise BackupInvalid(_SEALED)
            keys = keys_of(SEALED, self._counted(HEAD_BYTES), passphrase)
            source: _Source | Unsealer = Unsealer(keys, self._counted)
        else:
            if passphrase is not None:
                raise BackupInvalid(_NOT_SEALED)
            source = _Source(self._counted)
        zstd = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        # It only reads; its stub asks for a whole file.
        self._zstd = zstd.stream_reader(cast("IO[bytes]", source), read_across_frames=True)

    def read(self, count: int) -> bytes:
        """Return up to so many bytes of records; none at the end."""
        try:
            return self._zstd.read(count)
        except zstandard.ZstdError as error:
            raise BackupInvalid(ALTERED) from error

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
            byte = self._counted(1)
            if not byte:
                break
            line += byte
        if line in (PLAIN, SEALED):
            return line
        if line.startswith(_BEGIN) and line.endswith(b"\n"):
            raise BackupInvalid(_NEWER.format(line=line.decode("ascii", "replace").strip()))
        raise BackupInvalid(_NONE)

    def _counted(self, count: int) -> bytes:
        data = self._read(count)
        self.bytes += len(data)
        return data


class _Source:
    """What zstandard reads from."""

    def __init__(self, read: Read) -> None:
        self.read = read
