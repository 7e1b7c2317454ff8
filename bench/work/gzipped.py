"""A gzip stream of any length, made as quickly as random bytes: what layers are, mostly.

One member and no sync point (RFC 1951, 3.2.4: no empty stored block), as gzip, Docker and buildkit
write it, so nothing in it says where it could be cut. Real compression takes seconds for a layer.
This writes what it would have written: blocks of fixed Huffman codes (3.2.6) whose literals below
144 have codes of 8 bits. Five or six literals of 9 bits before them make codes begin at a byte.
"""

import os
import zlib
from typing import Final

BLOCK_BYTES: Final = 64 << 10
HEADER: Final = bytes.fromhex("1f8b 08 00 00000000 00 03")
"""RFC 1952, 2.3: deflate, no flags, no time, Unix."""
TRAILER_BYTES: Final = 8
NARROW: Final = 144
"""Literals below it have codes of 8 bits, from 0x30 on; those from it on 9 bits, from 0x190 on."""
BYTES_MIN: Final = 2 * BLOCK_BYTES
_LITERALS: Final = bytes(byte % NARROW for byte in range(256))
_CODES: Final = bytes(int(f"{0x30 + literal:08b}"[::-1], 2) for literal in _LITERALS)
"""Of each literal: codes go into bytes from their first bit on, a byte's lowest bit comes first."""
_WIDE_CODE: Final = f"{0x190:09b}"
_ENDED: Final = "0000000"


def _bits(text: str) -> bytes:
    """Return bits, written in their order, as bytes."""
    return int(text[::-1], 2).to_bytes(len(text) // 8, "little")


def _begun(*, last: bool) -> str:
    return f"{int(last)}10"  # BFINAL, then BTYPE 01 from its lowest bit on


_FIRST: Final = _bits(_begun(last=False) + 5 * _WIDE_CODE)
_NEXT: Final = {last: _bits(_ENDED + _begun(last=last) + 6 * _WIDE_CODE) for last in (False, True)}
"""Ends a block and begins another, the last one or not."""


def fill(place: memoryview) -> None:
    """Write a stream of exactly the place's length; others each time."""
    size = len(place)
    assert size >= BYTES_MIN, f"a gzip stream is made of {BYTES_MIN} bytes and more"
    place[: len(HEADER)] = HEADER
    end = size - 1 - TRAILER_BYTES  # where the last block ends with a byte
    at, begin, checksum, length = len(HEADER), _FIRST, 0, 0
    while True:
        place[at : at + len(begin)] = begin
        at += len(begin)
        wide = bytes([NARROW]) * (5 if begin is _FIRST else 6)
        count = BLOCK_BYTES if begin is not _NEXT[True] else end - at
        drawn = os.urandom(count)
        place[at : at + count] = drawn.translate(_CODES)
        at += count
        for literals in (wide, drawn.translate(_LITERALS)):
            checksum = zlib.crc32(literals, checksum)
            length += len(literals)
        if begin is _NEXT[True]:
            break
        begin = _NEXT[end - at < 2 * BLOCK_BYTES]
    place[end] = 0  # the last block's end, and a bit to fill the byte
    place[end + 1 :] = checksum.to_bytes(4, "little") + (length % (1 << 32)).to_bytes(4, "little")
