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
from yarl import URL

from treescale.clock import Clock
from treescale.errors import Unreachable
from treescale.log import get_logger
from treescale.peer.breaker import Breaker, State
from treescale.peer.signing import NO_BODY, Signer, body_digest
from treescale.peer.wire import (
    REQUEST_HEADER,
    Action,
    Pong,
    Target,
    read_error,
    read_head,
    read_unsigned,
)

_PING: Final = Target(Action.PING).path
_Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class PingPatience:
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


PING_PATIENCE: Final = PingPatience()


class PeerHealth:
    """The health of one other server, as this process sees it. `watch` must run.

    Each request that was admitted ends in exactly one of `answered`, `failed`, `refused` and
    `given_up`.

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
        patience: PingPatience = PING_PATIENCE,
    ) -> None:
        self.boot = ""
        """What the server's last pong said: another text after each of its starts."""
        self._pings = _Pings(signer, URL(url), tls)
        self._name = signer.addressee
        self._url = url
        self._breaker = Breaker(chance)
        self._clock = clock
        self._changed = changed
        self._patience = patience
        self._reason = ""
        self._refused = False
        self._log = get_logger()

    @property
    def state(self) -> State:
        """Return what is known of the server."""
        return self._breaker.state

    @property
    def is_up(self) -> bool:
        """Say whether a request sent now would be let through, be it as a probe."""
        return self._breaker.would_admit(self._clock.monotonic())

    def check(self) -> None:
        """Return when a request might be sent now; raises Unreachable, saying why, when not."""
        if not self.is_up:
            raise Unreachable(f"server {self._name} is {self.state.value}: {self._reason}")

    def admit(self) -> None:
        """Return when a request is let through; raises Unreachable when it is not."""
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

    def given_up(self) -> None:
        """Take notice that the caller did not wait."""
        before = self.state
        self._breaker.given_up()
        self._tell(before, "the request was given up")

    async def watch(self) -> None:
        """Ping for ever, as a task of whoever made this."""
        loop = asyncio.get_running_loop()
        lost = False
        try:
            while True:
                begun = loop.time()
                await self._ping(lost=lost)
                patience = self._patience
                pause = patience.refused_seconds if self._refused else patience.seconds
                lost = await self._pings.lost(begun + pause - loop.time())
                if lost:  # perhaps each is cut off: not more often than this
                    await asyncio.sleep(begun + self._patience.again_seconds - loop.time())
        finally:
            self._pings.drop()

    async def _ping(self, *, lost: bool) -> None:
        """Ping, and take notice; with `lost`, the connection before was, and patience is short."""
        before, reason = self.state, "it answers pings"
        self._refused = False
        try:
            async with asyncio.timeout(
                self._patience.lost_seconds if lost else self._patience.seconds
            ):
                self.boot = (await self._pings.ping()).boot
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
            self._refused = isinstance(error, _Refused)
            self._breaker.gone()
        else:
            self._breaker.pong()
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
    pings = _Pings(signer, URL(url), tls)
    try:
        async with asyncio.timeout(seconds):
            return await pings.ping()
    except (TimeoutError, ConnectionError) as error:
        why = str(error) or f"no answer in {seconds:.0f} s"
        raise Unreachable(f"{url} does not answer: {why}") from error
    finally:
        pings.drop()


class _Refused(Unreachable):
    """No connection could be made, which is known at once."""


class _Pings:
    """The connection that pings go over."""

    def __init__(self, signer: Signer, url: URL, tls: ssl.SSLContext | None) -> None:
        self._signer = signer
        self._url = url
        self._tls = (tls or True) if url.scheme == "https" else None
        self._wire: _Wire | None = None

    async def ping(self) -> Pong:
        """Ask, over a new connection where there is none.

        Raises ConnectionError when the connection ended, Unreachable when none could be made or
        somebody else is there. The caller limits the time.
        """
        try:
            if self._wire is None:
                self._wire = await self._connect()
            return await self._ask(*self._wire)
        except BaseException:
            self.drop()
            raise

    async def lost(self, seconds: float) -> bool:
        """Wait so long; return True at once when the connection there is ends before."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                if self._wire is None:
                    await asyncio.sleep(max(seconds, 0))
                    return False
                await self._wire[0].read(1)
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        self.drop()
        return True

    def drop(self) -> None:
        """End the connection; whoever waits on it finds it lost."""
        if self._wire is not None:
            self._wire[1].transport.abort()
            self._wire = None

    async def _connect(self) -> _Wire:
        try:
            return await asyncio.open_connection(self._url.host, self._url.port, ssl=self._tls)
        except OSError as error:
            raise _Refused(f"no connection to {self._url}: {error}") from error

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Pong:
        request = self._signer.sign("GET", _PING, length=0, body=NO_BODY, deadline_ms=1000)
        writer.write(
            f"GET {_PING} HTTP/1.1\r\nHost: {self._url.authority}\r\n"
            f"{REQUEST_HEADER}: {request.header}\r\n\r\n".encode()
        )
        try:
            status, length, signature = read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(length)
        except EOFError as error:
            raise ConnectionResetError("the connection ended before the answer") from error
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise Unreachable(f"what answers at {self._url} is no server of ours") from error
        if not request.is_answered_by(signature, status, length, body_digest(body)):
            raise read_unsigned(self._signer.addressee, status, body)
        if status != HTTPStatus.OK:
            raise read_error(self._signer.addressee, status, body)
        return msgspec.json.decode(body, type=Pong)
