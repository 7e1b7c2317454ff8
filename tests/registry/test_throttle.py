"""Attempts with a password in virtual time: who is refused, who is held, who is never bothered."""

import asyncio
import contextlib
import math

import pytest
from structlog.testing import capture_logs

from tests.virtualtime import LoopClock, virtual
from treescale.auth.counts import Counts
from treescale.auth.guessing import (
    ACCOUNT_FREE,
    ADDRESS_FREE,
    HOLD_SECONDS_MAX,
    PAIR_FREE,
    Urgency,
)
from treescale.errors import CredentialsInvalid, DatabaseUnavailable, StoreFull, TooMany
from treescale.registry import throttle as throttle_module
from treescale.registry.throttle import NOTE_PAUSE_SECONDS, NOTED_SECONDS, Throttle

HERE = "192.0.2.1"
ELSEWHERE = "198.51.100.1"


class Known:
    """What the database would know, and how often it was asked."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = set(pairs)
        self.asked = 0
        self.written = 0
        self.error: Exception | None = None
        self.seconds = 0.0

    async def knows(self, user: str, address: str) -> bool:
        self.asked += 1
        return (user, address) in self.pairs

    async def note(self, user: str, address: str) -> None:
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.written += 1
        self.pairs.add((user, address))

    async def prune(self) -> int:
        return 0


def throttle(*known: tuple[str, str], counts: Counts | None = None) -> Throttle:
    return Throttle(LoopClock(), Known(*known), counts)


async def attempt(
    limits: Throttle, user: str, source: str, *, right: bool = False, proven: bool = False
) -> Urgency:
    urgency = Urgency.DOUBTFUL
    with contextlib.suppress(CredentialsInvalid):
        async with limits.attempt(user, source, proven=proven, busy=False) as urgency:
            if not right:
                raise CredentialsInvalid("wrong")
    return urgency


async def failures(limits: Throttle, user: str, source: str, times: int) -> None:
    for _ in range(times):
        await attempt(limits, user, source)


async def distributed(limits: Throttle, user: str, times: int) -> None:
    """Guess at one account, once from each of many addresses."""
    async with asyncio.TaskGroup() as group:
        for number in range(times):
            source = f"10.{number // 250}.{number % 250}.7"
            group.create_task(_caught(attempt(limits, user, source)))


def seconds() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_guessing_at_an_account_from_one_address_takes_longer_and_longer() -> None:
    limits = throttle()
    await failures(limits, "alice", HERE, PAIR_FREE)
    waited = []
    for _ in range(3):
        with pytest.raises(TooMany) as refused:
            await attempt(limits, "alice", HERE, right=True)
        waited.append(refused.value.retry_seconds)
        await asyncio.sleep(refused.value.retry_seconds)
        await attempt(limits, "alice", HERE)
    assert waited == [1, 2, 4]
    await attempt(limits, "bob", HERE, right=True)
    await attempt(limits, "alice", ELSEWHERE, right=True)


@virtual
async def test_the_right_password_forgives_its_pair() -> None:
    limits = throttle()
    for _ in range(3):
        await failures(limits, "alice", HERE, PAIR_FREE - 1)
        await attempt(limits, "alice", HERE, right=True)


@virtual
async def test_what_was_neither_right_nor_wrong_is_not_counted() -> None:
    limits = throttle()
    for _ in range(100):
        with pytest.raises(DatabaseUnavailable):
            async with limits.attempt("alice", HERE, proven=False, busy=False):
                raise DatabaseUnavailable("away")
    await attempt(limits, "alice", HERE, right=True)


@virtual
async def test_guesses_at_the_same_time_are_counted_like_others() -> None:
    limits = throttle()
    looked_at = 0

    async def guess() -> None:
        nonlocal looked_at
        async with limits.attempt("alice", HERE, proven=False, busy=False):
            looked_at += 1
            await asyncio.sleep(0.05)
            raise CredentialsInvalid("wrong")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_caught(guess())) for _ in range(200)]
    assert looked_at == PAIR_FREE
    kinds = [type(task.result()) for task in tasks]
    assert kinds.count(TooMany) == 200 - PAIR_FREE


async def _caught(work: object) -> Exception | None:
    try:
        await work  # type: ignore[misc]
    except (CredentialsInvalid, TooMany) as error:
        return error
    return None


@virtual
async def test_an_address_that_tries_many_accounts_is_slowed() -> None:
    limits = throttle(("alice", HERE))
    for number in range(ADDRESS_FREE):
        await attempt(limits, f"nobody{number}", HERE)
    with pytest.raises(TooMany) as refused:
        await attempt(limits, "bob", HERE, right=True)
    assert refused.value.retry_seconds <= HOLD_SECONDS_MAX
    began = seconds()
    assert await attempt(limits, "alice", HERE, right=True) is Urgency.PROVEN
    assert await attempt(limits, "bob", ELSEWHERE, right=True) is Urgency.CLEAN
    assert seconds() == pytest.approx(began), "a known one, and other addresses, wait for nothing"
    await asyncio.sleep(refused.value.retry_seconds)
    assert await attempt(limits, "bob", HERE, right=True) is Urgency.DOUBTFUL


@virtual
async def test_all_of_an_ipv6_network_is_one_address() -> None:
    limits = throttle()
    for number in range(PAIR_FREE):
        await attempt(limits, "alice", f"2001:db8:1:2::{number:x}")
    with pytest.raises(TooMany):
        await attempt(limits, "alice", "2001:db8:1:2:ffff::1")
    await attempt(limits, "alice", "2001:db8:1:3::1")
    for _ in range(PAIR_FREE):
        await attempt(limits, "bob", "::ffff:192.0.2.1")
    with pytest.raises(TooMany):
        await attempt(limits, "bob", HERE)


@virtual
async def test_a_distributed_guess_slows_who_is_new_there_by_ten_seconds_at_most() -> None:
    limits = throttle(("alice", HERE))
    await distributed(limits, "alice", ACCOUNT_FREE + 100)
    began = seconds()
    await attempt(limits, "alice", HERE, right=True)
    await attempt(limits, "alice", ELSEWHERE, right=True, proven=True)
    await attempt(limits, "bob", ELSEWHERE, right=True)
    assert seconds() == pytest.approx(began)
    await attempt(limits, "alice", "203.0.113.9", right=True)
    assert 1 < seconds() - began <= HOLD_SECONDS_MAX + 0.1


@virtual
async def test_a_known_pair_is_held_for_its_own_failures_but_never_refused() -> None:
    limits = throttle(("alice", HERE))
    for _ in range(30):
        began = seconds()
        await attempt(limits, "alice", HERE)
        assert seconds() - began <= HOLD_SECONDS_MAX + 0.1
    began = seconds()
    assert await attempt(limits, "alice", HERE, right=True) is Urgency.PROVEN
    assert HOLD_SECONDS_MAX - 0.1 <= seconds() - began <= HOLD_SECONDS_MAX + 0.1


@virtual
async def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "HELD_MAX", 3)
    limits = throttle(("alice", HERE))
    await distributed(limits, "alice", ACCOUNT_FREE + 60)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_caught(attempt(limits, "alice", f"203.0.{n}.1", right=True)))
            for n in range(10)
        ]
        await asyncio.sleep(0.1)
        await attempt(limits, "alice", HERE, right=True)
    assert sum(isinstance(task.result(), TooMany) for task in tasks) == 7
    assert limits._held == {True: {}, False: {}}


@virtual
async def test_one_pair_does_not_hold_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "HELD_OF_PAIR_MAX", 2)
    limits = throttle(("alice", HERE), ("bob", HERE))
    await failures(limits, "bob", HERE, 12)
    await failures(limits, "alice", HERE, 12)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_caught(attempt(limits, "alice", HERE))) for _ in range(5)]
        await asyncio.sleep(0.1)
        await attempt(limits, "bob", HERE, right=True)
    assert sum(isinstance(task.result(), TooMany) for task in tasks) == 3


@virtual
async def test_the_counts_are_those_of_all_workers() -> None:
    counts = Counts(64)
    one, other = throttle(counts=counts), throttle(counts=counts)
    await failures(one, "alice", HERE, PAIR_FREE)
    with pytest.raises(TooMany):
        await attempt(other, "alice", HERE)


@virtual
async def test_the_database_is_asked_only_when_it_makes_a_difference() -> None:
    limits = throttle()
    known = limits._known
    assert isinstance(known, Known)
    await attempt(limits, "alice", HERE, right=True)
    assert known.asked == 0
    async with limits.attempt("alice", HERE, proven=False, busy=True):
        pass
    assert known.asked == 1, "others wait, so it matters who goes first"
    for name in ("not a name", "\ud800", "nul\0"):
        await failures(limits, name, ELSEWHERE, 2)
    assert known.asked == 1, "no account has such a name"


class TestNotes:
    @virtual
    async def test_once_an_hour_is_asked_and_a_failure_fails_no_login(self) -> None:
        limits = throttle()
        known = limits._known
        assert isinstance(known, Known)
        for _ in range(3):
            await limits.note("alice", HERE)
        assert known.written == 1
        await asyncio.sleep(NOTED_SECONDS)
        await limits.note("alice", HERE)
        assert known.written == 2
        for error in (StoreFull("full"), DatabaseUnavailable("read-only")):
            known.error = error
            with capture_logs() as lines:
                await limits.note("bob", HERE)
                await limits.note("bob", HERE)
            assert [(one["event"], one["error"]) for one in lines] == [
                ("login.address_not_noted", str(error))
            ]
            await asyncio.sleep(NOTE_PAUSE_SECONDS)
        known.error = None
        await limits.note("bob", HERE)
        assert ("bob", HERE) in known.pairs

    @virtual
    async def test_a_slow_database_delays_a_login_by_a_second_at_most(self) -> None:
        limits = throttle()
        known = limits._known
        assert isinstance(known, Known)
        known.seconds = math.inf
        with capture_logs() as lines:
            await limits.note("alice", HERE)
        assert seconds() == pytest.approx(1, abs=0.1)
        assert lines[0]["event"] == "login.address_not_noted"

    @virtual
    async def test_what_is_remembered_of_them_is_bounded(self) -> None:
        limits = throttle()
        for number in range(throttle_module.NOTED_MAX + 10):
            await limits.note("alice", f"10.{number // 60000}.{number // 250 % 250}.{number % 250}")
        assert len(limits._noted) == throttle_module.NOTED_MAX
