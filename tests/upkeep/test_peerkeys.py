"""One first key, and a way to the next."""

import asyncio

from treescale.metadata.protocols import Database
from treescale.metadata.records import PeerKey
from treescale.upkeep.peerkeys import peer_keys, signing_key


async def test_whoever_comes_first_makes_the_key(database: Database, other: Database) -> None:
    letters = iter("abcdefgh")

    def secret(size: int) -> bytes:
        return next(letters).encode() * size

    found = await asyncio.gather(
        *((database, other)[n % 2].peer_keys.list() for n in range(2)),
        *(peer_keys((database, other)[n % 2].peer_keys, secret) for n in range(8)),
    )
    (key,) = await peer_keys(database.peer_keys, secret)
    assert len(key.secret) == 32
    assert found[2:] == [[key]] * 8


def test_a_new_key_signs_when_everybody_has_read_it() -> None:
    old, new = PeerKey(1, b"1", created=1000.0), PeerKey(2, b"2", created=5000.0)
    assert signing_key([old], 1001.0) is old, "the first must sign at once"
    assert signing_key([old, new], 5059.9) is old
    assert signing_key([old, new], 5060.0) is new
    assert signing_key([new], 5001.0) is new
    assert signing_key([old, new], 0.0) is old, "the database's clock was set back"
