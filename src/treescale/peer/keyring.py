"""The keys by which the servers of a cluster know each other, and the signers made of them.

All keys in the database are accepted; the first is made by whoever comes first. To change them, add
one with the next number; every server reads it within seconds and signs with it after a minute;
then remove the old one. A nonce comes of the system's chance, and never again.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.metadata.database import Database
from treescale.metadata.keys import PeerKeys as KeyRows
from treescale.metadata.records import PeerKey as KeyRow
from treescale.peer.signing import KEY_BYTES, PeerKeys, Signer

SPREAD_SECONDS: Final = 60.0
"""By then every server that reaches the database has read a new key."""


async def shared_keys(database: Database) -> PeerKeys:
    """Return the keys of this cluster, made now if there is none.

    Raises DatabaseUnavailable, and Failed when a key in the database is damaged.
    """
    keys = await peer_keys(database.peer_keys, secrets.token_bytes)
    for key in keys:
        if len(key.secret) != KEY_BYTES:
            raise Failed(f"peer key {key.number} in the database is damaged: not {KEY_BYTES} bytes")
    signing = signing_key(keys, await database.servers.now())
    return PeerKeys(signing.secret, tuple(key.secret for key in keys))


def new_signer(sender: str, addressee: str, keys: Callable[[], PeerKeys], clock: Clock) -> Signer:
    """Return what signs the requests of one server to another, by the clock that servers share."""
    return Signer(sender, addressee, keys, clock.now, lambda: secrets.token_hex(16))


async def peer_keys(keys: KeyRows, new_secret: Callable[[int], bytes]) -> list[KeyRow]:
    """Return all keys, oldest first, at least one; the first is made if there is none.

    `new_secret` returns so many random bytes (`secrets.token_bytes`). Of several servers that
    start at once one makes the key, and all return that. Raises DatabaseUnavailable.
    """
    found = await keys.list()
    if not found:
        await keys.add(1, new_secret(KEY_BYTES))
        found = await keys.list()
    return found


def signing_key(keys: Sequence[KeyRow], now: float) -> KeyRow:
    """Return the key to sign with: the newest that everybody knows, else the oldest.

    `now` is the database's time, as `created` is.
    """
    known = [key for key in keys if now - key.created >= SPREAD_SECONDS]
    return max(known or keys[:1], key=lambda key: key.number)
