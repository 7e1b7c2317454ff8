"""What is told from the first bytes of a blob: whether cutting by content can help."""

import gzip
import zlib

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from treescale.chunks.format.gzip_probe import PROBE_BYTES, GzipProbe

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
SYNC = b"\x00\x00\xff\xff"


def dull(size: int, seed: int = 5) -> bytes:
    """Return bytes in which no mark can be."""
    noise = blake3(b"%d" % seed).digest(length=size)
    return noise.replace(b"\xff", b"\xfe").replace(b"\x1f", b"\x1e")


PLAIN = HEADER + dull(PROBE_BYTES + 1000)


def is_plain(data: bytes, *ends: int) -> bool:
    probe = GzipProbe()
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        probe.feed(data[start:end])
    return probe.is_plain


def test_a_long_gzip_stream_is_plain() -> None:
    assert is_plain(PLAIN)
    assert is_plain(PLAIN[:PROBE_BYTES])


def test_nothing_is_known_before_all_of_it_was_seen() -> None:
    assert not is_plain(PLAIN[: PROBE_BYTES - 1])
    assert not is_plain(b"")


@pytest.mark.parametrize("head", [b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x07", b"\x1f", b"BZh9", b"etc/"])
def test_what_begins_otherwise_is_not(head: bytes) -> None:
    assert not is_plain(head + b"x" + PLAIN[10:])


MEMBERS = [HEADER, b"\x1f\x8b\x08\x04abcd\x02\x03", b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x04\x00"]
NO_MEMBERS = [
    b"\x1f\x8b\x08\x20\x00\x00\x00\x00\x00\xff",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x05\xff",
]


@settings(max_examples=examples(30), deadline=None)
@given(
    st.sampled_from([SYNC, *MEMBERS]),
    st.integers(10, PROBE_BYTES - 10),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_a_mark_is_found_wherever_pieces_end(mark: bytes, at: int, ends: list[int]) -> None:
    data = PLAIN[:at] + mark + PLAIN[at + len(mark) :]
    assert not is_plain(data, *sorted(at + end for end in ends))


@settings(max_examples=examples(10), deadline=None)
@given(st.sampled_from([SYNC, *MEMBERS]), st.integers(1, 2000))
def test_marks_after_the_probed_bytes_do_not_matter(mark: bytes, after: int) -> None:
    at = PROBE_BYTES - len(mark) + after
    assert is_plain(PLAIN[:at] + mark + PLAIN[at + len(mark) :])


@pytest.mark.parametrize("other", NO_MEMBERS)
def test_what_no_compressor_writes_is_no_member(other: bytes) -> None:
    assert is_plain(PLAIN[:5000] + other + PLAIN[5000:])


@given(st.lists(st.integers(0, 30), max_size=9))
def test_the_header_may_come_in_any_pieces(ends: list[int]) -> None:
    probe = GzipProbe()
    data = PLAIN[:40]
    for start, end in zip([0, *sorted(ends)], [*sorted(ends), 40], strict=True):
        probe.feed(data[start:end])
    probe.feed(PLAIN[40:])
    assert probe.is_plain


TEXT = dull(PROBE_BYTES + 2**21)


def flushed(data: bytes, every: int, how: int) -> bytes:
    """Return a gzip stream that is flushed after so many bytes each."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [
        squeeze.compress(data[at : at + every]) + squeeze.flush(how)
        for at in range(0, len(data), every)
    ]
    return b"".join(pieces) + squeeze.flush()


def test_real_streams() -> None:
    """As dockerd and containerd write, as pigz and pgzip do, and as eStargz does."""
    assert is_plain(gzip.compress(TEXT, 1))
    assert not is_plain(flushed(TEXT, 2**17, zlib.Z_SYNC_FLUSH))
    assert not is_plain(flushed(TEXT, 2**20, zlib.Z_FULL_FLUSH))
    files = (TEXT[at : at + 2**21] for at in range(0, len(TEXT), 2**21))
    assert not is_plain(b"".join(gzip.compress(each, 1) for each in files))
