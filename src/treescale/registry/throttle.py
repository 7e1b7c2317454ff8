"""Attempts to log in with a password: counted, held or refused as `auth/guessing.py` decides.

The counts are those of all workers of the server. What addresses an account is known from lies in
the database, so that it outlives restarts and holds on every server; it is asked only when that
makes a difference, and written at most once a day for each pair.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Protocol

from treescale.auth.counts import Counts
from treescale.auth.guessing import (
    ACCOUNT,
    ADDRESS,
    NETWORK,
    NOTHING,
    PAIR,
    Count,
    Limit,
    Seen,
    Urgency,
    Verdict,
    address_key,
    judge,
    network_key,
)
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    DatabaseUnavailable,
    NameInvalid,
    StoreFull,
    TooMany,
)
from treescale.log import get_logger
from treescale.oci.names import check_namespace

HELD_MAX: Final = 256
"""So many attempts are held at once in a worker: known pairs, and as many others."""
HELD_OF_PAIR_MAX: Final = 16
NOTED_MAX: Final = 4096
NOTED_SECONDS: Final = 3600.0
"""A worker that has seen a pair noted does not ask for so long whether it is."""
NOTE_SECONDS_MAX: Final = 1.0
"""A login waits no longer for its address to be noted."""
NOTE_PAUSE_SECONDS: Final = 60.0
"""After a note that failed."""


_AT_ONCE: Final = Verdict(Urgency.PROVEN)
_CLEAN: Final = Verdict(Urgency.CLEAN)


class _Attempt:
    """What an attempt is counted under."""

    def __init__(self, user: str, source: str) -> None:
        self.user = user
        self.address = address_key(source)
        account, address, network = (
            text.encode("utf-8", "surrogatepass")
            for text in (user, self.address, network_key(source))
        )
        # An address has no NUL, so no two pairs read alike.
        self.pair = b"pair\0" + address + b"\0" + account
        self.limited = (
            (self.pair, PAIR),
            (b"address\0" + address, ADDRESS),
            (b"network\0" + network, NETWORK),
            (b"account\0" + account, ACCOUNT),
        )


class LoginAddresses(Protocol):
    """What `metadata.accounts.KnownAddresses` does, as far as it is asked here."""

    async def knows(self, user: str, address: str) -> bool:
        """Return whether the account was logged in to from there lately."""
        ...

    async def note(self, user: str, address: str) -> None:
        """Note a login from there."""
        ...


class Throttle:
    """Who failed how often, and who is known."""

    def __init__(
        self, clock: Clock, known: LoginAddresses | None = None, counts: Counts | None = None
    ) -> None:
        self._clock = clock
        self._known = known
        self._counts = counts or Counts()
        self._held: dict[bool, Counter[bytes]] = {True: Counter(), False: Counter()}
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._no_notes_until = -math.inf

    @asynccontextmanager
    async def attempt(
        self, user: str, source: str, *, proven: bool, busy: bool
    ) -> AsyncIterator[Urgency]:
        """Have an attempt counted that is made within; waits first as long as it must.

        `source` is the address it comes from; `proven` says that this very credential was right
        lately, and `busy` that others wait, so that order matters. CredentialsInvalid within is a
        failure, its absence the right password; any other error is neither. Raises TooMany, with
        the time to come back, when it may not be made now.
        """
        one = _Attempt(user, source)
        known = False
        verdict = _AT_ONCE if proven else self._judge(one, known=False)
        if not proven and (busy or verdict != _CLEAN):
            known = await self._knows(one)
            verdict = self._judge(one, known=known)  # by the counts of now
        if verdict.refuse_seconds > 0:
            raise _too_many(verdict.refuse_seconds)
        self._change(one, Limit.begun)
        try:
            if verdict.hold_seconds > 0:
                await self._hold(one, verdict.hold_seconds, known=known)
            yield verdict.urgency
        except CredentialsInvalid:
            self._change(one, Limit.failed)
            raise
        except BaseException:
            self._change(one, Limit.taken_back)
            raise
        self._change(one, Limit.right)
        self._counts.change(one.pair, lambda _: NOTHING, now=self._clock.monotonic())

    async def note(self, user: str, source: str) -> None:
        """Note that this address logged in to this account, if the database can write just now.

        Says so in the log when it cannot; the login goes on.
        """
        if self._known is None:
            return
        pair, now = (user, address_key(source)), self._clock.monotonic()
        if now - self._noted.get(pair, -math.inf) < NOTED_SECONDS or now < self._no_notes_until:
            return
        try:
            async with asyncio.timeout(NOTE_SECONDS_MAX):
                await self._known.note(*pair)
        except (StoreFull, DatabaseUnavailable, TimeoutError) as error:
            self._no_notes_until = now + NOTE_PAUSE_SECONDS
            reason = str(error) or "the database takes too long"
            get_logger().warning("login.address_not_noted", user=user, error=reason)
            return
        self._noted[pair] = now
        self._noted.move_to_end(pair)
        while len(self._noted) > NOTED_MAX:
            self._noted.popitem(last=False)

    def _judge(self, one: _Attempt, *, known: bool) -> Verdict:
        seen = Seen(*(self._counts.read(key) for key, _ in one.limited))
        return judge(seen, self._clock.monotonic(), known=known)

    async def _knows(self, one: _Attempt) -> bool:
        try:
            user = check_namespace(one.user)
        except NameInvalid:
            return False
        return self._known is not None and await self._known.knows(user, one.address)

    def _change(self, one: _Attempt, how: Callable[[Limit, Count, float], Count]) -> None:
        now = self._clock.monotonic()
        for key, limit in one.limited:
            self._counts.change(key, partial(_changed, limit, how, now), now=now)

    async def _hold(self, one: _Attempt, seconds: float, *, known: bool) -> None:
        """Wait, if there is room to wait."""
        held, pair = self._held[known], one.pair
        if held.total() >= HELD_MAX or held[pair] >= HELD_OF_PAIR_MAX:
            raise _too_many(seconds)
        held[pair] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            held[pair] -= 1
            if not held[pair]:
                del held[pair]


def _changed(
    limit: Limit, how: Callable[[Limit, Count, float], Count], now: float, count: Count
) -> Count:
    return how(limit, count, now)


def _too_many(seconds: float) -> TooMany:
    wait = math.ceil(seconds)
    return TooMany(f"too many failed logins: try again in {wait} s", retry_seconds=wait)
