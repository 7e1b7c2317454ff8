"""The cluster's keys: one first key, a way to the next, and signers made of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes_disk import JumpingClock
from tests.peer.conftest import KEYS
from tests.templates import empty_database
from treescale.errors import Failed
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import PeerKey
from treescale.peer.keyring import new_signer, peer_keys, shared_keys, signing_key
from treescale.peer.signing import NO_BODY, PeerKeys, authenticate


def test_a_request_has_the_time_the_key_of_now_and_a_nonce_that_never_comes_again() -> None:
    clock, keys = JumpingClock(), [KEYS]
    signer = new_signer("a", "b", lambda: keys[0], clock)

    def sign() -> str:
        return signer.sign("GET", "/x", length=0, body=NO_BODY, deadline_ms=1).header

    first, second = sign(), sign()
    assert first.split()[:5] == ["1", "a", "b", f"{clock.now() * 1000:.0f}", "1"]
    assert first.split()[5] != second.split()[5]
    keys[0] = PeerKeys(b"n" * 32)
    assert authenticate(keys[0], "GET", "/x", 0, sign()).sender == "a"


@pytest.fixture
async def databases(tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """One database, as two servers have it."""
    url = empty_database(tmp_path / "treescale.db")
    both = open_database(url), open_database(url)
    yield both
    for each in both:
        await each.close()


async def test_whoever_comes_first_makes_the_key(databases: tuple[Database, Database]) -> None:
    letters = iter("abcdefgh")

    def secret(size: int) -> bytes:
        return next(letters).encode() * size

    found = await asyncio.gather(
        *(databases[n % 2].peer_keys.list() for n in range(2)),
        *(peer_keys(databases[n % 2].peer_keys, secret) for n in range(8)),
    )
    (key,) = await peer_keys(databases[0].peer_keys, secret)
    assert len(key.secret) == 32
    assert found[2:] == [[key]] * 8


async def test_a_damaged_key_is_told(databases: tuple[Database, Database]) -> None:
    keys = await shared_keys(databases[0])
    assert await shared_keys(databases[1]) == keys
    await databases[0].peer_keys.add(2, b"short")
    with pytest.raises(Failed, match="peer key 2"):
        await shared_keys(databases[0])


def test_a_new_key_signs_when_everybody_has_read_it() -> None:
    old, new = PeerKey(1, b"1", created=1000.0), PeerKey(2, b"2", created=5000.0)
    assert signing_key([old], 1001.0) is old, "the first must sign at once"
    assert signing_key([old, new], 5059.9) is old
    assert signing_key([old, new], 5060.0) is new
    assert signing_key([new], 5001.0) is new
    assert signing_key([old, new], 0.0) is old, "the database's clock was set back"
