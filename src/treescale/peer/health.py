"""Noticing that another server is gone, and that it is back: pings on a connection of their own.

The connection is watched between pings, so its end is noticed at once; whether the server has gone
too, a second connection tells: one of its workers may have ended, and the others serve on. A ping
nobody answers (a stopped process, a cut wire) is missed, and the next one is sent on a new
connection: on the old one the kernel may wait longer and longer. Pings are never given up, so a
server that is back is seen within a second. (faults.md section 6)
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from treescale.clock import Clock
from treescale.errors import Unreachable
from treescale.log import get_logger
from treescale.peer.address import reachable
from treescale.peer.breaker import Breaker, State
from treescale.peer.connection import PeerConnection, Refusal, connect
from treescale.peer.keyring import new_signer
from treescale.peer.protocol import (
    SMALL_BYTES_MAX,
    Action,
    PeerRefuses,
    PeerRequest,
    Pong,
    read_error,
    write_request,
)
from treescale.peer.signing import PeerKeys, Signer

DEADLINE_MS: Final = 1000
_PING: Final = PeerRequest(Action.PING)


@dataclass(frozen=True, slots=True)
class PingTimeouts:
    """How often to ask and how long to wait. Silence is seen after at most three `seconds`."""

    seconds: float = 1.0
    """From one ping to the next, and how long each may take."""
    again_seconds: float = 0.05
    """At the soonest after a ping, a lost connection is followed by another."""
    refused_seconds: float = 0.2
    """From one ping to the next while nobody listens there. Whoever is started again listens for
    longer than this before it serves, so a ping waits for it: when it says that it is ready, and
    the next server is restarted, it is up in the eyes of all others."""
    lost_seconds: float = 0.15
    """How long connecting anew and a ping may take then."""


PING_TIMEOUTS: Final = PingTimeouts()


class PeerHealth:
    """The health of one other server, as this process sees it. `watch` must run.

    Each request that was admitted ends in exactly one of `answered`, `failed`, `refused` and
    `cancelled`.

    `chance` gives 0 up to 1 from a seeded source; `changed` hears of each change of the state.
    """

    def __init__(
        self,
        signer: Signer,
        url: str,
        *,
        clock: Clock,
        chance: Callable[[], float],
        changed: Callable[[State], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
        timeouts: PingTimeouts = PING_TIMEOUTS,
    ) -> None:
        self.boot = ""
        """What the server's last pong said: another text after each of its starts."""
        self.walk_bytes_per_second = 0
        """What its last pong said that a walk may move; 0 is no limit."""
        self._pings = _Pings(signer, url, tls)
        self._name = signer.addressee
        self._url = url
        self._breaker = Breaker(chance)
        self._clock = clock
        self._changed = changed
        self._timeouts = timeouts
        self.refusal: PeerRefuses | None = None
        """What the last ping was answered with, if that was a refusal; None when it was not."""
        self.answers = False
        """Whether the last ping was answered, be it with a refusal."""
        self._reason = ""
        self._refused = False
        self._log = get_logger()

    @property
    def state(self) -> State:
        """Return what is known of the server."""
        return self._breaker.state

    @property
    def trouble(self) -> str:
        """Return why it is not asked, for people; "" while it is, and when it is only late."""
        return "" if self.state in (State.UP, State.SUSPECT) else self._reason

    @property
    def is_up(self) -> bool:
        """Say whether a request sent now would be let through, be it as a probe."""
        return self._breaker.would_admit(self._clock.monotonic())

    def check(self) -> None:
        """Raise Unreachable, saying why, when no request goes to that server now."""
        if not self.is_up:
            raise Unreachable(f"server {self._name} is {self.state.value}: {self._reason}")

    def admit(self) -> None:
        """Let one request through, or raise Unreachable; what it finds is to be told."""
        self.check()
        before = self.state
        self._breaker.admit()
        self._tell(before, "a request is to show whether it answers")

    def answered(self) -> None:
        """Take notice of a signed answer, whatever it says."""
        before = self.state
        self._breaker.answered()
        self._tell(before, "it answers requests")

    def failed(self, *, reset: bool) -> None:
        """Take notice of no answer: it is late or wrong, or the connection was `reset`.

        After a reset, a ping finds out at once whether anybody is still there.
        """
        before = self.state
        self._breaker.failed(self._clock.monotonic())
        if reset:
            self._pings.drop()
        self._tell(before, "it answers pings, and not what it is asked")

    def refused(self, reason: str) -> None:
        """Take notice that no connection could be made: it is down until it answers a ping."""
        before = self.state
        self._breaker.gone()
        self._tell(before, reason)

    def cancelled(self) -> None:
        """Take notice that the caller did not wait."""
        before = self.state
        self._breaker.cancelled()
        self._tell(before, "the request was given up")

    async def watch(self) -> None:
        """Ping for ever, as a task of whoever made this."""
        loop = asyncio.get_running_loop()
        lost = False
        try:
            while True:
                begun = loop.time()
                await self._ping(lost=lost)
                timeouts = self._timeouts
                pause = timeouts.refused_seconds if self._refused else timeouts.seconds
                lost = await self._pings.lost(begun + pause - loop.time())
                if lost:  # perhaps each is cut off: not more often than this
                    await asyncio.sleep(begun + self._timeouts.again_seconds - loop.time())
        finally:
            self._pings.drop()

    async def _ping(self, *, lost: bool) -> None:
        """Ping, and take notice; with `lost`, the connection before was, and patience is short."""
        before, reason = self.state, "it answers pings"
        self._refused = False
        refusal: PeerRefuses | None = None
        answers = False
        seconds = self._timeouts.lost_seconds if lost else self._timeouts.seconds
        try:
            pong = await self._pings.ping(seconds)
            self.boot, self.walk_bytes_per_second = pong.boot, max(0, pong.walk_bytes_per_second)
        except (TimeoutError, ConnectionError) as error:
            if lost:
                reason = "it cut the connection, and does not answer on another"
                self._breaker.gone()
            elif isinstance(error, TimeoutError):
                reason = "it does not answer pings"
                self._breaker.missed()
            else:
                return await self._ping(lost=True)
        except Unreachable as error:
            reason = str(error)
            self._refused = isinstance(error, Refusal)
            refusal = error if isinstance(error, PeerRefuses) else None
            answers = refusal is not None
            self._breaker.gone()
        else:
            answers = True
            self._breaker.pong()
        self.refusal, self.answers = refusal, answers
        if self.state is State.DOWN:
            self._reason = reason
        return self._tell(before, reason)

    def _tell(self, before: State, reason: str) -> None:
        """Tell of a change of the state."""
        if self.state is not before:
            self._reason = reason
            self._log.warning(
                "peer.state",
                peer=self._name,
                url=self._url,
                state=self.state.value,
                reason=reason,
            )
            self._changed(self.state)


async def ping_once(
    signer: Signer, url: str, *, tls: ssl.SSLContext | None = None, seconds: float = 3.0
) -> Pong:
    """Return the answer to one ping over a connection of its own; raises Unreachable, saying why.

    Also when another server than the addressee answers, or anything else.
    """
    pings = _Pings(signer, url, tls)
    try:
        return await pings.ping(seconds)
    except (TimeoutError, ConnectionError) as error:
        why = str(error) or f"no answer in {seconds:.0f} s"
        raise Unreachable(f"{url} does not answer: {why}") from error
    finally:
        pings.drop()


async def why_unreachable(
    server_id: str, url: str, keys: PeerKeys, clock: Clock, tls: ssl.SSLContext
) -> str | None:
    """Return why a server that serves does not find itself at its address; None when it does."""
    signer = new_signer(server_id, server_id, lambda: keys, clock)
    try:
        await ping_once(signer, url, tls=tls)
    except Unreachable as error:
        return str(error)
    return None


class _Pings:
    """The connection that pings go over."""

    def __init__(self, signer: Signer, url: str, tls: ssl.SSLContext | None) -> None:
        self._signer = signer
        self._url = url
        self._tls = tls
        self._connection: PeerConnection | None = None

    async def ping(self, seconds: float) -> Pong:
        """Ask, over a new connection where there is none.

        Raises TimeoutError, ConnectionError when the connection ended, Refusal when none could be
        made, another Unreachable when somebody else is there.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(seconds)
        except BaseException:
            self.drop()
            raise

    async def _exchange(self, seconds: float) -> Pong:
        try:
            return await self._ask(seconds)
        except (ConnectionError, TimeoutError, Unreachable):
            raise
        except Exception as error:  # whatever the other end did, it is the one to blame
            raise Unreachable(f"what answers at {self._url} is no server of ours") from error

    async def _ask(self, seconds: float) -> Pong:
        host = reachable(self._url).authority
        if self._connection is None:
            self._connection = await connect(self._url, self._tls, seconds)
        sent = write_request(self._signer, _PING, host, deadline_ms=DEADLINE_MS)
        answer = await self._connection.ask(sent.head, b"", SMALL_BYTES_MAX, seconds)
        sent.check(answer)
        if answer.status != HTTPStatus.OK:
            raise read_error(self._signer.addressee, answer.status, answer.body)
        return msgspec.json.decode(answer.body, type=Pong)

    async def lost(self, seconds: float) -> bool:
        """Wait so long; return True at once when the connection there is ends before."""
        connection = self._connection
        if connection is None:
            await asyncio.sleep(max(seconds, 0))
            return False
        await asyncio.wait({connection.ended}, timeout=max(seconds, 0))
        if not connection.ended.done():
            return False
        self.drop()
        return True

    def drop(self) -> None:
        """End the connection; whoever waits on it finds it lost."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
