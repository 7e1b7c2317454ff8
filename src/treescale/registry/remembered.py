"""Credentials that were right lately, kept as keyed hashes: no secret can be read from here.

For a moment that is as good as asking again; and while the database is away, for `away_seconds_max`
it is all there is. Using an entry does not make it last longer, what was refused is forgotten, and
nobody is remembered beyond their access token's end.
"""

import hashlib
import hmac
from collections import OrderedDict
from typing import Final

from treescale.auth.policy import Principal
from treescale.clock import Clock

away_seconds_max: Final = 900.0
"""How long ago a credential must have been proven to count while the database is away."""
remembered_max: Final = 4096


class Remembered:
    """Who proved what, and when; the least lately used are forgotten first."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def fingerprint(self, *words: bytes) -> bytes:
        """Return what stands for these words, which do not run together."""
        framed = b"".join(len(word).to_bytes(8, "big") + word for word in words)
        return hmac.digest(self._key, framed, hashlib.sha256)

    def recall(self, fingerprint: bytes, seconds: float) -> Principal | None:
        """Return whom it proved in the last `seconds` (`away_seconds_max` at most)."""
        entry = self._entries.get(fingerprint)
        if entry is None:
            return None
        since, principal = entry
        age = self._clock.monotonic() - since
        if age >= away_seconds_max or principal.ended(self._clock.now()):
            del self._entries[fingerprint]
            return None
        self._entries.move_to_end(fingerprint)
        return principal if age < seconds else None

    def remember(self, fingerprint: bytes, principal: Principal) -> None:
        """Note that it has just been proven; what was only recalled is not proven anew."""
        known = self._entries.get(fingerprint)
        if known is not None and known[1] is principal:
            return
        self._entries[fingerprint] = self._clock.monotonic(), principal
        self._entries.move_to_end(fingerprint)
        while len(self._entries) > remembered_max:
            self._entries.popitem(last=False)

    def forget(self, fingerprint: bytes) -> None:
        """Count it no longer: it was refused."""
        self._entries.pop(fingerprint, None)
