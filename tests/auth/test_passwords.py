"""Passwords: which may be set, what verifying costs, and how much of it happens at once."""

import asyncio
import os
import re
import threading
from pathlib import Path
from unittest.mock import patch

import pytest

import treescale
from tests.tables import each_row
from treescale.auth.common_passwords import WELL_KNOWN
from treescale.auth.guessing import Urgency
from treescale.auth.passwords import (
    MEMORY_KIB,
    PATIENCE,
    Passwords,
    check_new_password,
    possible,
)
from treescale.auth.slots import Slots
from treescale.errors import Failed, PasswordInvalid, TooMany

GOOD = "correct horse"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(memory=64)


@each_row(
    ("password", "reason"),
    [
        ("", "at least 8"),
        ("1234567", "at least 8"),
        ("x" * 1025, "at most 1024 bytes"),
        ("ä" * 513, "at most 1024 bytes"),
        ("Harbor12345", "guessed"),
        ("password", "guessed"),
        ("PassWord", "guessed"),
        ("admin123", "guessed"),
        ("changeme", "guessed"),
        ("Alexandra", "guessed"),
        ("line\nbreak", "line breaks"),
        ("nul\0nulnul", "line breaks"),
        ("\ud800surrogate", "UTF-8"),
    ],
)
def test_a_bad_password_is_refused_with_its_reason(password: str, reason: str) -> None:
    with pytest.raises(PasswordInvalid, match=reason):
        check_new_password(password, user="alexandra")


@each_row("password", ["12345 78", "x" * 1024, "ä" * 512, "pässwörter", " spaces "])
def test_a_good_password_is_left_as_it_is(password: str) -> None:
    assert check_new_password(password) == password


def test_the_list_holds_only_what_length_does_not_refuse() -> None:
    assert {word for word in WELL_KNOWN if len(word) < 8 or word != word.lower()} == set()
    assert len(WELL_KNOWN) > 200


async def test_a_hash_matches_its_password_alone(passwords: Passwords) -> None:
    made = await passwords.hash(GOOD)
    assert await passwords.matches(made, GOOD)
    for other in ("correct horse ", "Correct horse", "", "x" * 2000, "\ud800"):
        assert not await passwords.matches(made, other)
    assert made != await passwords.hash(GOOD), "each hash has a salt of its own"


async def test_bytes_are_not_normalised(passwords: Passwords) -> None:
    composed, decomposed = "caf\u00e9 noir", "cafe\u0301 noir"
    assert not await passwords.matches(await passwords.hash(composed), decomposed)


async def test_hashing_costs_what_it_should() -> None:
    made = await Passwords().hash(GOOD)
    assert re.match(rf"\$argon2id\$v=19\$m={MEMORY_KIB},t=1,p=1\$", made)
    assert MEMORY_KIB >= 46 * 1024


async def test_nobody_costs_a_real_verification_and_never_matches() -> None:
    passwords = Passwords(memory=1024)
    seen: list[str] = []
    verify = passwords._verify

    def spy(expected: str, data: bytes) -> bool:
        seen.append(expected)
        return verify(expected, data)

    passwords._verify = spy  # type: ignore[method-assign]
    assert not await passwords.matches(None, GOOD)
    assert seen[0].startswith("$argon2id$v=19$m=1024,t=1,p=1$")


async def test_a_damaged_hash_is_our_fault(passwords: Passwords) -> None:
    with pytest.raises(Failed, match="damaged"):
        await passwords.matches("md5:abc", GOOD)
    with pytest.raises(Failed, match="damaged"):
        await passwords.matches("$argon2id$v=19$m=64,t=1,p=1$AAAA$!!", GOOD)


async def test_a_password_too_long_is_not_hashed(passwords: Passwords) -> None:
    with pytest.raises(PasswordInvalid):
        await passwords.hash("x" * 1025)


class Held:
    """Passwords whose verifications wait until let go, and count how many run."""

    def __init__(self, *, slots: int, waiting: int) -> None:
        self.passwords = Passwords(Slots(slots), memory=64, waiting=waiting)
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.running = 0
        self.most = 0
        self.patience = set[int]()
        self.lock = threading.Lock()
        self.passwords._verify = self._verify  # type: ignore[method-assign]

    def _verify(self, expected: str, data: bytes) -> bool:
        del expected, data
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.patience.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.begun.release()
        assert self.go.wait(timeout=30)
        with self.lock:
            self.running -= 1
        return True

    async def all_begun(self, count: int) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self.begun.acquire, timeout=30)


async def test_few_run_at_once_some_wait_and_the_rest_come_back_later() -> None:
    held = Held(slots=2, waiting=3)
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(held.passwords.matches("hash", GOOD)) for _ in range(5)]
        await held.all_begun(2)
        assert held.passwords.busy
        with pytest.raises(TooMany) as refused:
            await held.passwords.matches("hash", GOOD)
        held.go.set()
    assert refused.value.retry_seconds >= 1
    assert [task.result() for task in started] == [True] * 5
    assert held.most == 2
    assert not held.passwords.busy
    assert await held.passwords.matches("hash", GOOD), "there is room again"


async def test_a_client_that_leaves_does_not_make_room_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("treescale.auth.slots.WAIT_SECONDS_MAX", 0.0)
    held = Held(slots=1, waiting=1)
    async with asyncio.TaskGroup() as group:
        left = group.create_task(held.passwords.matches("hash", GOOD))
        await held.all_begun(1)
        left.cancel()
        await asyncio.wait([left])
        with pytest.raises(TooMany):
            await held.passwords.matches("hash", GOOD)
        held.go.set()
    assert held.most == 1


@pytest.mark.parametrize("urgency", Urgency)
async def test_without_a_thread_it_fails_and_the_slot_is_free_for_the_next(
    passwords: Passwords, urgency: Urgency
) -> None:
    """Else the server would look at no password again after as many failures as it has slots."""
    stored = await passwords.hash(GOOD)
    other = Passwords(Slots(2), memory=64)
    no_thread = RuntimeError("can't start new thread")
    with patch.object(threading.Thread, "start", side_effect=no_thread):
        for _ in range(4):
            with pytest.raises(Failed, match="no thread"):
                await other.matches(stored, GOOD, urgency)
    assert await other.matches(stored, GOOD, urgency)


async def test_likely_guesses_run_when_nobody_else_wants_to() -> None:
    held = Held(slots=2, waiting=1)
    held.go.set()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for urgency in (Urgency.PROVEN, Urgency.CLEAN):
        await held.passwords.matches("hash", GOOD, urgency)
    assert held.patience == {own}
    held.patience.clear()
    for urgency in (Urgency.CROWDED, Urgency.DOUBTFUL):
        await held.passwords.matches("hash", GOOD, urgency)
    assert held.patience == {max(own, PATIENCE)}


@each_row(
    ("password", "can"), [("", True), ("x" * 1024, True), ("x" * 1025, False), ("\ud800", False)]
)
def test_what_nobody_can_have(password: str, *, can: bool) -> None:
    assert possible(password) is can


def test_secrets_are_compared_in_constant_time() -> None:
    """S29: no `==` on anything that is secret."""
    secret = r"(?:secret|password_hash|proof|checksum|sha256|digest_of_secret)\w*"
    compared = re.compile(rf"\b{secret}\s*(?:==|!=)|(?:==|!=)\s*(?:\w+\.)*{secret}\b")
    root = Path(treescale.__file__).parent
    for path in [*(root / "auth").glob("*.py"), *(root / "registry").glob("*.py")]:
        found = compared.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: use hmac.compare_digest for {found}"
    assert compared.search("if token.secret_sha256 == other:")
