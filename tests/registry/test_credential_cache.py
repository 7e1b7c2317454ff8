"""What others have seen proven counts as they saw it, and for as long."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.fakes_disk import JumpingClock
from treescale.auth.policy import Principal
from treescale.auth.scopes import Action
from treescale.cache.exchange import AnswerExchange
from treescale.registry.credential_cache import AWAY_SECONDS_MAX, CredentialCache, key_for_all

KEY = key_for_all(b"secret")
ALICE = Principal("alice", "t1", frozenset({Action.PULL}), "alice/*", 1_800_000_000.0, proven=7.5)


class Process:
    """Somebody who remembers, and tells."""

    def __init__(self, clock: JumpingClock, key: bytes = KEY) -> None:
        self.exchange = AnswerExchange()
        self.remembered = CredentialCache(key, clock, self.exchange.topic("login", Principal))

    def hears(self, other: "Process") -> None:
        async def ask(question: bytes) -> Sequence[bytes]:
            return [await other.exchange.answer(question)]

        self.exchange.connect(ask, ask)

    def fingerprint(self) -> bytes:
        return self.remembered.fingerprint(b"alice", b"password")

    async def hear(self) -> Principal | None:
        return await self.remembered.ask_others(self.fingerprint())


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


async def test_what_another_saw_proven_counts_with_all_its_limits(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock)
    here.hears(there)
    assert await here.hear() is None
    there.remembered.put(there.fingerprint(), ALICE)
    heard = await here.hear()
    assert heard == ALICE
    assert heard.proven == ALICE.proven, "what is revoked later than that voids it"
    assert here.remembered.get(here.fingerprint(), AWAY_SECONDS_MAX) == ALICE


async def test_nobody_is_the_operator_by_what_others_say(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock)
    here.hears(there)
    there.remembered.put(there.fingerprint(), replace(ALICE, is_operator=True))
    heard = await here.hear()
    assert heard == ALICE
    assert not heard.is_operator


async def test_it_ends_when_it_ends_there(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock)
    here.hears(there)
    there.remembered.put(there.fingerprint(), ALICE)
    clock.seconds += AWAY_SECONDS_MAX - 1
    assert await here.hear() == ALICE
    assert here.remembered.get(here.fingerprint(), 30.0) is None, "it is not fresh"
    clock.seconds += 1
    assert here.remembered.get(here.fingerprint(), AWAY_SECONDS_MAX) is None
    assert await here.hear() is None


async def test_what_was_refused_later_here_or_there_does_not_count(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock)
    here.hears(there)
    there.remembered.put(there.fingerprint(), ALICE)
    clock.seconds += 1
    here.remembered.reject(here.fingerprint())
    assert await here.hear() is None
    clock.seconds += 1
    there.remembered.put(there.fingerprint(), Principal("alice", "t2"))
    assert await here.hear() == Principal("alice", "t2"), "proven again since"
    there.remembered.reject(there.fingerprint())
    here = Process(clock)
    here.hears(there)
    assert await here.hear() is None


async def test_an_access_token_s_end_is_its_end(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock)
    here.hears(there)
    there.remembered.put(there.fingerprint(), Principal("alice", expires=clock.now() + 5))
    clock.seconds += 6
    assert await here.hear() is None


async def test_whoever_has_another_key_is_not_understood(clock: JumpingClock) -> None:
    here, there = Process(clock), Process(clock, key_for_all(b"another"))
    here.hears(there)
    there.remembered.put(there.fingerprint(), ALICE)
    assert await here.hear() is None
    assert (
        await there.exchange.answer(
            b'{"noun":"login","repository":"","name":"no fingerprint","here":true}'
        )
        == b""
    )
