"""Gzip streams that are made without compressing: whole, of one member, without sync points."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.work import gzipped

SYNC_POINT = bytes.fromhex("0000ffff")
"""The lengths of an empty stored block."""


def made(size: int) -> bytes:
    data = bytearray(size)
    gzipped.fill(memoryview(data))
    return bytes(data)


@given(size=st.integers(gzipped.BYTES_MIN, 5 * gzipped.BLOCK_BYTES))
def test_a_stream_is_one_whole_member_of_the_length(size: int) -> None:
    data = made(size)
    reader = zlib.decompressobj(wbits=31)  # gzip alone; checks the sum and the length
    content = reader.decompress(data)
    assert reader.eof
    assert not reader.unused_data
    assert size - 100 < len(content) < size


def test_no_place_says_where_it_could_be_cut() -> None:
    data = made(8 << 20)
    assert SYNC_POINT not in data
    assert data.count(gzipped.HEADER[:3]) == 1


def test_no_two_are_alike_beyond_their_headers() -> None:
    one, other = made(gzipped.BYTES_MIN), made(gzipped.BYTES_MIN)
    assert one[16:48] != other[16:48]
    assert one[-40:-9] != other[-40:-9]


def test_too_short_a_place_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="131072 bytes and more"):
        made(gzipped.BYTES_MIN - 1)
