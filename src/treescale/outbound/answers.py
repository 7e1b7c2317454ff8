"""What a request to the outside brings back, and what ends it.

Apart from the client, which brings aiohttp: a command on the database needs these names alone.
"""

from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDictProxy


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a request."""

    seconds: float = 15.0
    """From the look-up of the name to the last byte of the answer."""
    answer_bytes: int = 64 * 1024
    cut: bool = False
    """Whether a longer answer is cut there, and one that breaks off or ends too late where it did,
    and not taken for a failure: its status is what counts."""


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    is_public: bool = False
    """Whether it came from a public address. Of one that a proxy of ours asked nobody knows."""
