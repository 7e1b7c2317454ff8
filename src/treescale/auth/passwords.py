"""Passwords: which are accepted, and argon2id, a bounded number at a time.

One verification costs 46 MiB and a twentieth of a second on purpose (OWASP: m=46 MiB, t=1, p=1),
which makes it a lever for whoever wants to exhaust the server. So it takes a slot (slots.py), of
which a server has as many as processors, and runs in a thread (the hash lets other threads run);
who would wait too long is told to come back. Bytes are compared as they come: no trimming, no
Unicode normalisation.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from treescale.auth.common_passwords import WELL_KNOWN
from treescale.auth.guessing import Urgency
from treescale.auth.slots import WAITING_MAX, SlotLine, Slots
from treescale.errors import Failed, PasswordInvalid
from treescale.threads import Threads

CHARACTERS_MIN: Final = 8
BYTES_MAX: Final = 1024
MEMORY_KIB: Final = 46 * 1024
PATIENCE: Final = 10
"""The nice value of threads that look at passwords which are likely guesses."""

T = TypeVar("T")


class PasswordCheck(Protocol):
    """What logging in needs of passwords."""

    @property
    def busy(self) -> bool:
        """Return whether somebody waits, so that it makes a difference who goes first."""
        ...

    async def matches(
        self, password_hash: str | None, password: str, urgency: Urgency = Urgency.PROVEN
    ) -> bool:
        """Return whether the password has this hash; None takes as long and never matches."""
        ...


def check_new_password(password: str, *, user: str = "") -> str:
    """Return `password` when it may be set for `user`; else raise PasswordInvalid, saying why."""
    if len(password) < CHARACTERS_MIN:
        raise PasswordInvalid(f"a password has at least {CHARACTERS_MIN} characters")
    if len(_as_bytes(password)) > BYTES_MAX:
        raise PasswordInvalid(f"a password has at most {BYTES_MAX} bytes")
    if "\0" in password or "\n" in password or "\r" in password:
        raise PasswordInvalid("a password has no line breaks, which most clients cannot send")
    folded = password.lower()
    if folded in WELL_KNOWN or folded == user.lower():
        raise PasswordInvalid("this password is among the first that are guessed: choose another")
    return password


def possible(password: str) -> bool:
    """Return whether any account can have this password: it is text of at most `BYTES_MAX`."""
    try:
        return len(_as_bytes(password)) <= BYTES_MAX
    except PasswordInvalid:
        return False


class Passwords:
    """argon2id with bounds on how much of it happens at once."""

    def __init__(
        self,
        slots: Slots | None = None,
        *,
        waiting: int = WAITING_MAX,
        memory: int = MEMORY_KIB,
    ) -> None:
        self._slots = slots or Slots()
        self._line = SlotLine(self._slots, waiting)
        self._hasher = PasswordHasher(time_cost=1, memory_cost=memory, parallelism=1)
        self._threads = Threads(self._slots.count, "argon2")
        self._patient = Threads(self._slots.count, "argon2-patient", _be_patient)
        # The hash of nothing: verifying against it costs what a real one costs.
        self._nobody = f"$argon2id$v=19$m={memory},t=1,p=1$" + "A" * 22 + "$" + "A" * 43

    @property
    def busy(self) -> bool:
        """Return whether somebody waits."""
        return len(self._line) > 0

    async def hash(self, password: str) -> str:
        """Return an argon2id string with a fresh salt; raises TooMany, Failed, PasswordInvalid."""
        data = _as_bytes(password)
        if len(data) > BYTES_MAX:
            raise PasswordInvalid(f"a password has at most {BYTES_MAX} bytes")
        return await self._in_thread(lambda: self._hasher.hash(data), Urgency.PROVEN)

    async def matches(
        self, password_hash: str | None, password: str, urgency: Urgency = Urgency.PROVEN
    ) -> bool:
        """Return whether the password has this hash; None takes as long and never matches.

        Raises TooMany when its turn does not come in time, Failed when the hash is not an argon2
        string, or when the system has no thread for it.
        """
        if not possible(password):
            return False
        data = _as_bytes(password)
        expected = password_hash or self._nobody
        matched = await self._in_thread(lambda: self._verify(expected, data), urgency)
        return matched and password_hash is not None

    def _verify(self, expected: str, data: bytes) -> bool:
        try:
            return self._hasher.verify(expected, data)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise Failed("an account's password hash in the database is damaged") from error

    async def _in_thread(self, work: Callable[[], T], urgency: Urgency) -> T:
        slot = await self._line.take(urgency)
        # The slot is given back by the thread, not by the waiting request: a client that leaves
        # stops waiting, but what it started still costs memory until it is done.
        threads = self._threads if urgency <= Urgency.CLEAN else self._patient
        try:
            future: Future[T] = threads.submit(work)
        except RuntimeError as error:
            self._slots.give_back(slot)
            raise Failed("no thread can be had to look at a password") from error
        future.add_done_callback(lambda _: self._slots.give_back(slot))
        return await asyncio.wrap_future(future)


def _be_patient() -> None:
    """Have this thread run when nobody else wants to: a flood must not slow down pulls."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PATIENCE)


def _as_bytes(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise PasswordInvalid("a password is text that UTF-8 can spell") from None
