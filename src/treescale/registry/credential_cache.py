"""Credentials that were right lately, kept as keyed hashes: no secret can be read from here.

For a moment that is as good as asking again; and while the database is away, for `AWAY_SECONDS_MAX`
it is all there is, together with what other processes of the cluster have seen proven. Using an
entry does not make it last longer, what was refused is forgotten, and nobody is remembered beyond
their access token's end. Others are asked by fingerprint, so only who has the same key understands.
"""

import hashlib
import hmac
import math
from collections import OrderedDict
from dataclasses import replace
from typing import Final, TypeVar

from treescale.auth.policy import Principal
from treescale.cache.exchange import AgedAnswer, Topic
from treescale.clock import Clock

AWAY_SECONDS_MAX: Final = 900.0
"""How long ago a credential must have been proven to count while the database is away."""
REMEMBERED_MAX: Final = 4096

_Kept = TypeVar("_Kept")


def key_for_all(secret: bytes) -> bytes:
    """Return the key of whoever has this secret: processes with the same hear of each other."""
    return hmac.digest(secret, b"treescale remembered credentials", hashlib.sha256)


class CredentialCache:
    """Who proved what, and when; the least lately used are forgotten first."""

    def __init__(self, key: bytes, clock: Clock, topic: Topic[Principal] | None = None) -> None:
        self._key = key
        self._clock = clock
        self._topic = topic
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        if topic is not None:
            topic.answer_with(self._told)
        self._entries: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def fingerprint(self, *words: bytes) -> bytes:
        """Return what stands for these words, which do not run together."""
        framed = b"".join(len(word).to_bytes(8, "big") + word for word in words)
        return hmac.digest(self._key, framed, hashlib.sha256)

    def get(self, fingerprint: bytes, seconds: float) -> Principal | None:
        """Return whom it proved in the last `seconds` (`AWAY_SECONDS_MAX` at most)."""
        entry = self._entries.get(fingerprint)
        if entry is None:
            return None
        since, principal = entry
        age = self._clock.monotonic() - since
        if age >= AWAY_SECONDS_MAX or principal.is_expired(self._clock.now()):
            del self._entries[fingerprint]
            return None
        self._entries.move_to_end(fingerprint)
        return principal if age < seconds else None

    async def ask_others(self, fingerprint: bytes) -> Principal | None:
        """Return whom others saw it prove within `AWAY_SECONDS_MAX`, and remember it as they do.

        Not when it was refused here later than it was proven there.
        """
        if self._topic is None:
            return None
        asked = self._clock.monotonic()
        told = await self._topic.ask("", fingerprint.hex())
        if told is None or told.value is None:
            return None
        since = asked - told.age
        if since <= self._refused.get(fingerprint, -math.inf):
            return None
        self._entries[fingerprint] = since, replace(told.value, is_operator=False)
        return self.get(fingerprint, AWAY_SECONDS_MAX)

    def _told(self, _: str, name: str) -> AgedAnswer[Principal] | None:
        """Return for others whom it proved, or that it was refused, and how long ago."""
        now, fingerprint = self._clock.monotonic(), _fingerprint_of(name)
        entry, refused = self._entries.get(fingerprint), self._refused.get(fingerprint)
        if entry is not None:
            return AgedAnswer(entry[1], now - entry[0])
        return None if refused is None else AgedAnswer(None, now - refused)

    def put(self, fingerprint: bytes, principal: Principal) -> None:
        """Note that it has just been proven; what was only recalled is not proven anew."""
        known = self._entries.get(fingerprint)
        if known is not None and known[1] is principal:
            return
        self._entries[fingerprint] = self._clock.monotonic(), principal
        self._entries.move_to_end(fingerprint)
        _bound(self._entries)

    def reject(self, fingerprint: bytes) -> None:
        """Count it no longer: it was refused."""
        self._entries.pop(fingerprint, None)
        self._refused[fingerprint] = self._clock.monotonic()
        self._refused.move_to_end(fingerprint)
        _bound(self._refused)


def _fingerprint_of(name: str) -> bytes:
    """Return the fingerprint of this name; one that nothing has when that is none."""
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""


def _bound(kept: OrderedDict[bytes, _Kept]) -> None:
    while len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
