"""Whether cutting by content can find anything in a blob: not in one plain gzip stream. Pure.

Two plain gzip streams share no bytes after the first difference of what they hold, wherever they
are cut: each bit depends on all that came before. That ends where the compressor begins anew or
at least on a whole byte: at the next member, and at a sync point, which is an empty stored block.
So a blob is `is_plain` when its first 8 MiB begin with a gzip header and have neither.

What makes streams with such points makes many: `gzip --rsyncable` one each 8 KiB or so, pigz each
128 KiB of what it reads, pgzip (podman, skopeo) each MiB, eStargz a member for each file and at
most each 4 MiB. Random bytes look like a sync point once in 4 GiB (2^32), like a member's header
once in 190 GiB: one blob in 500 is cut by content for nothing.
"""

import re
from typing import Final

from treescale.chunks.store import Bytes

PROBE_BYTES: Final = 8 * 1024 * 1024
"""So much of a blob is looked at, and cut by content in any case."""

_MAGIC: Final = b"\x1f\x8b\x08"
_SYNC_POINT: Final = re.compile(rb"\x00\x00\xff\xff")
"""An empty stored block: length 0, and its complement (RFC 1951 section 3.2.4)."""
_MEMBER: Final = re.compile(rb"\x1f\x8b\x08[\x00-\x1f][\x00-\xff]{4}[\x00\x02\x04][\x00-\x0d\xff]")
"""Magic, deflate, no reserved flag, a time, how hard it was compressed, and on which system."""
_HEADER_BYTES: Final = 10
_STEP_BYTES: Final = 256 * 1024
"""A search holds the interpreter: other threads get their turn between two of these."""


class GzipProbe:
    """Looks at the first bytes of a blob as they come."""

    def __init__(self) -> None:
        self._seen = 0
        self._may_be_plain = True
        self._last = b""

    @property
    def is_plain(self) -> bool:
        """Say whether this is one gzip stream without sync points; False until that is known."""
        return self._may_be_plain and self._seen >= PROBE_BYTES

    def feed(self, data: Bytes) -> None:
        """Look at the next bytes; those after the first `PROBE_BYTES` do not matter."""
        with memoryview(data) as view:
            wanted = min(len(view), PROBE_BYTES - self._seen) if self._may_be_plain else 0
            for start in range(0, wanted, _STEP_BYTES):
                if self._may_be_plain:
                    self._look(bytes(view[start : min(wanted, start + _STEP_BYTES)]))

    def _look(self, piece: bytes) -> None:
        """Look at some bytes and at the last ones before them, where a mark may begin."""
        window = self._last + piece
        begin = self._seen - len(self._last)
        self._seen += len(piece)
        self._last = window[1 - _HEADER_BYTES :]
        is_gzip = begin > 0 or _MAGIC.startswith(window[: len(_MAGIC)])
        other_member = _MEMBER.search(window, 1 if begin == 0 else 0)
        self._may_be_plain = is_gzip and not other_member and not _SYNC_POINT.search(window)
