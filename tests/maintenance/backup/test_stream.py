"""The bytes of a file: what they begin with, and what is refused."""

import io
import os

import pytest

from treescale.errors import BackupInvalid
from treescale.maintenance.backup.stream import PLAIN, SEALED, Reader, Writer

DATA = os.urandom(200_000) + bytes(300_000)
QUICK = 4


def written(passphrase: bytes | None = None) -> bytes:
    file = io.BytesIO()
    writer = Writer(file.write, passphrase, random=os.urandom, log_n=QUICK)
    for start in range(0, len(DATA), 70_000):
        writer.write(DATA[start : start + 70_000])
    writer.close()
    assert writer.bytes == len(file.getvalue())
    return file.getvalue()


def read(data: bytes, passphrase: bytes | None = None) -> bytes:
    reader = Reader(io.BytesIO(data).read, passphrase)
    return b"".join(iter(lambda: reader.read(65_536), b""))


@pytest.mark.parametrize(("passphrase", "line"), [(None, PLAIN), (b"secret", SEALED)])
def test_what_was_written_is_read(passphrase: bytes | None, line: bytes) -> None:
    data = written(passphrase)
    assert data.startswith(line)
    assert len(data) < 220_000, "it is not compressed"
    assert read(data, passphrase) == DATA
    assert written(b"secret") != written(b"secret"), "a salt came twice"


def test_the_passphrase_is_asked_for_and_must_be_right() -> None:
    with pytest.raises(BackupInvalid, match="--passphrase-file FILE"):
        read(written(b"secret"))
    with pytest.raises(BackupInvalid, match="passphrase is wrong"):
        read(written(b"secret"), b"guess")
    with pytest.raises(BackupInvalid, match="not encrypted"):
        read(written(), b"secret")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no backup"),
        (b"PGDMP", "no backup"),
        (b"TreeScale backup", "no backup"),
        (b"TreeScale backup 2 zstd\n", "newer TreeScale"),
        (b"TreeScale backup " + b"x" * 1000, "no backup"),
        (PLAIN + b"no frame of zstd", "damaged"),
        (SEALED + b"no head", "cut short"),
    ],
)
def test_anything_else_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BackupInvalid, match=says):
        read(data, b"secret" if data.startswith(SEALED) else None)


def test_what_follows_it_is_refused() -> None:
    for tail in (b"\n", b"garbage"):
        with pytest.raises(BackupInvalid):
            read(written() + tail)
        with pytest.raises(BackupInvalid):
            read(written(b"secret") + tail, b"secret")
