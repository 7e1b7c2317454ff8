"""Under a passphrase: read by whoever has it, and refused when anything was done to it."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.errors import BackupInvalid
from treescale.maintenance.backup import sealing
from treescale.maintenance.backup.sealing import (
    HEAD_BYTES,
    LOG_N_MAX,
    SALT_BYTES,
    Keys,
    Sealer,
    Unsealer,
    derived,
    head_of,
    keys_of,
)

LINE = b"a line\n"
SALT = bytes(range(SALT_BYTES))
QUICK = 4
KEYS = derived(b"secret", SALT, QUICK)
SEGMENT = 64
SEALED = SEGMENT + sealing.TAG_BYTES


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SEGMENT_BYTES", SEGMENT)


def sealed(data: bytes, keys: Keys = KEYS) -> bytes:
    sealer = Sealer(keys)
    return b"".join([*sealer.seal(data[:100]), *sealer.seal(data[100:]), sealer.end()])


def opened(data: bytes, keys: Keys = KEYS) -> bytes:
    reader = Unsealer(keys, io.BytesIO(data).read)
    return b"".join(iter(lambda: reader.read(50), b""))


@pytest.mark.parametrize("length", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 5 * SEGMENT, 1000])
def test_what_was_sealed_is_read(length: int) -> None:
    data = bytes(number % 251 for number in range(length))
    whole = sealed(data)
    assert opened(whole) == data
    segments = max(1, -(-length // SEGMENT))
    assert len(whole) == length + segments * sealing.TAG_BYTES
    assert data[:32] not in whole or length < 32


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_however_it_is_written(pieces: list[bytes]) -> None:
    sealer = Sealer(KEYS)
    found = [segment for piece in pieces for segment in sealer.seal(piece)]
    assert opened(b"".join([*found, sealer.end()])) == b"".join(pieces)


def test_cut_anywhere_it_is_refused() -> None:
    whole = sealed(bytes(3 * SEGMENT))
    for length in range(len(whole)):
        with pytest.raises(BackupInvalid, match="cut short"):
            opened(whole[:length])


def test_each_bit_counts() -> None:
    whole = sealed(bytes(SEGMENT + 9))
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        with pytest.raises(BackupInvalid):
            opened(bytes(flipped))


ALTERED: list[Callable[[list[bytes]], list[bytes]]] = [
    lambda parts: [parts[1], parts[0], *parts[2:]],
    lambda parts: parts[1:],
    lambda parts: [parts[0], *parts],
    lambda parts: parts[:-1],
    lambda parts: [*parts, parts[-1]],
    lambda parts: [*parts, b"x"],
]


@pytest.mark.parametrize("change", ALTERED)
def test_segments_in_another_order_are_refused(
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    whole = sealed(bytes(4 * SEGMENT))
    parts = [whole[start : start + SEALED] for start in range(0, len(whole), SEALED)]
    assert opened(b"".join(parts)) == bytes(4 * SEGMENT)
    with pytest.raises(BackupInvalid):
        opened(b"".join(change(parts)))


def test_without_numbers_segments_may_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(sealing, "_nonce", lambda _number, *, last: bytes(11) + bytes([last]))
    whole = sealed(b"a" * SEGMENT + b"b" * SEGMENT + b"c")
    moved = whole[SEALED : 2 * SEALED] + whole[:SEALED] + whole[2 * SEALED :]
    assert opened(moved) == b"b" * SEGMENT + b"a" * SEGMENT + b"c"


def test_no_nonce_comes_twice() -> None:
    found = {sealing._nonce(number, last=last) for number in range(300) for last in (False, True)}
    assert len(found) == 600
    assert {len(nonce) for nonce in found} == {12}


def test_the_head_gives_the_keys_to_whoever_has_the_passphrase() -> None:
    head = head_of(LINE, KEYS, SALT, QUICK)
    assert len(head) == HEAD_BYTES
    assert keys_of(LINE, head, b"secret") == KEYS
    with pytest.raises(BackupInvalid, match="passphrase is wrong"):
        keys_of(LINE, head, b"Secret")
    with pytest.raises(BackupInvalid, match="passphrase is wrong"):
        keys_of(b"another line\n", head, b"secret")


def test_a_head_that_was_altered_is_refused_before_it_takes_memory() -> None:
    head = head_of(LINE, KEYS, SALT, QUICK)
    for place in range(1, len(head)):
        flipped = bytearray(head)
        flipped[place] ^= 1
        with pytest.raises(BackupInvalid):
            keys_of(LINE, bytes(flipped), b"secret")
    for log_n in (0, LOG_N_MAX + 1, 255):
        with pytest.raises(BackupInvalid):
            keys_of(LINE, bytes([log_n]) + head[1:], b"secret")
    with pytest.raises(BackupInvalid):
        keys_of(LINE, head[:-1], b"secret")


def test_another_salt_gives_other_keys() -> None:
    assert derived(b"secret", bytes(SALT_BYTES), QUICK) != KEYS
    assert KEYS.segments != KEYS.head
