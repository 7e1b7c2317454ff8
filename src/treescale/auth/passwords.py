"""Passwords: which are accepted, and argon2id, a bounded number at a time.

One verification costs 46 MiB and a tenth of a second on purpose (OWASP: m=46 MiB, t=1, p=1), which
makes it a lever for whoever wants to exhaust the server. So at most `parallel_max` run at once, in
threads of their own (the hash lets other threads run), at most `waiting_max` wait, and the next is
told to come back. Bytes are compared as they come: no trimming, no Unicode normalisation.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final, Protocol, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from treescale.auth.wellknown import WELL_KNOWN
from treescale.errors import Failed, PasswordInvalid, TooMany

characters_min: Final = 8
bytes_max: Final = 1024
parallel_max: Final = 2
waiting_max: Final = 64
memory_kib: Final = 46 * 1024

T = TypeVar("T")


class PasswordCheck(Protocol):
    """What logging in needs of passwords."""

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password has this hash; None takes as long and never matches."""
        ...


def check_new_password(password: str, *, user: str = "") -> str:
    """Return `password` when it may be set for `user`; else raise PasswordInvalid, saying why."""
    if len(password) < characters_min:
        raise PasswordInvalid(f"a password has at least {characters_min} characters")
    if len(_as_bytes(password)) > bytes_max:
        raise PasswordInvalid(f"a password has at most {bytes_max} bytes")
    if "\0" in password or "\n" in password or "\r" in password:
        raise PasswordInvalid("a password has no line breaks, which most clients cannot send")
    folded = password.lower()
    if folded in WELL_KNOWN or folded == user.lower():
        raise PasswordInvalid("this password is among the first that are guessed: choose another")
    return password


class Passwords:
    """argon2id with bounds on how much of it happens at once."""

    def __init__(
        self,
        *,
        parallel: int = parallel_max,
        waiting: int = waiting_max,
        memory: int = memory_kib,
    ) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=memory, parallelism=1)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="argon2")
        self._room = BoundedSemaphore(parallel + waiting)
        # The hash of nothing: verifying against it costs what a real one costs.
        self._nobody = f"$argon2id$v=19$m={memory},t=1,p=1$" + "A" * 22 + "$" + "A" * 43

    async def hash(self, password: str) -> str:
        """Return an argon2id string with a fresh salt; raises TooMany, PasswordInvalid."""
        data = _as_bytes(password)
        if len(data) > bytes_max:
            raise PasswordInvalid(f"a password has at most {bytes_max} bytes")
        return await self._in_thread(lambda: self._hasher.hash(data))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password has this hash; None takes as long and never matches.

        Raises TooMany when too many wait already, Failed when the hash is not an argon2 string.
        """
        try:
            data = _as_bytes(password)
        except PasswordInvalid:
            return False
        if len(data) > bytes_max:
            return False
        expected = password_hash or self._nobody
        matched = await self._in_thread(lambda: self._verify(expected, data))
        return matched and password_hash is not None

    def _verify(self, expected: str, data: bytes) -> bool:
        try:
            return self._hasher.verify(expected, data)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise Failed("an account's password hash in the database is damaged") from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # The room is given back by the thread, not by the waiting request: a client that leaves
        # stops waiting, but what it started still costs memory until it is done.
        if not self._room.acquire(blocking=False):
            raise TooMany("too many logins at once; try again in a moment", retry_seconds=2)
        future: Future[T] = self._threads.submit(work)
        future.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(future)


def _as_bytes(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise PasswordInvalid("a password is text that UTF-8 can spell") from None
