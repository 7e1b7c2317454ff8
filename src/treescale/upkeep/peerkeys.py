"""The keys by which the servers of a cluster know each other: made by whoever comes first.

All keys in the database are accepted. To change them, add one with the next number; every server
reads it within seconds and signs with it after a minute; then remove the old one.
"""

from collections.abc import Callable, Sequence
from typing import Final

from treescale.metadata.protocols import PeerKeys
from treescale.metadata.records import PeerKey

secret_bytes: Final = 32
spread_seconds: Final = 60.0
"""By then every server that reaches the database has read a new key."""


async def peer_keys(keys: PeerKeys, new_secret: Callable[[int], bytes]) -> list[PeerKey]:
    """Return all keys, oldest first, at least one; the first is made if there is none.

    `new_secret` returns so many random bytes (`secrets.token_bytes`). Of several servers that
    start at once one makes the key, and all return that. Raises DatabaseAway.
    """
    found = await keys.list()
    if not found:
        await keys.add(1, new_secret(secret_bytes))
        found = await keys.list()
    return found


def signing_key(keys: Sequence[PeerKey], now: float) -> PeerKey:
    """Return the key to sign with: the newest that everybody knows, else the oldest.

    `now` is the database's time, as `created` is.
    """
    known = [key for key in keys if now - key.created >= spread_seconds]
    return max(known or keys[:1], key=lambda key: key.number)
