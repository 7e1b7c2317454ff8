"""Another server, asked over kept connections: is it to be asked at all, and what does it answer.

Only signed answers count. No answer in time, or a broken one, is Unreachable; nothing is tried
again here (whoever has other copies does that), but for one thing: a kept connection that the other
end closed while it lay idle.
"""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from treescale.chunks.store import Bytes
from treescale.errors import Failed, Unreachable
from treescale.log import get_logger
from treescale.peer.address import reachable
from treescale.peer.connection import ClosedWhileIdle, ConnectionPool, PeerConnection, Refusal
from treescale.peer.health import PeerHealth
from treescale.peer.protocol import (
    ANSWER_BYTES_MAX,
    SMALL_BYTES_MAX,
    Action,
    PeerRequest,
    Received,
    read_error,
    write_request,
)
from treescale.peer.signing import Signer
from treescale.tracing import TRACING

DEADLINE_SHARE: Final = 0.9
"""Of our patience, what the other server may use: then its word that it is late is here in time."""

_KNOWN: Final = PeerRequest(Action.KNOWN)
_SPANS: Final = {action: f"peer {action.name.lower()}" for action in Action}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for another server, and with how many requests at once."""

    connect_seconds: float = 0.5
    read_seconds: float = 2.0
    """Without a byte of the answer, when something is read."""
    chunk_seconds: float = 30.0
    """For a whole chunk, however steadily it trickles."""
    write_seconds: float = 10.0
    """For a write, or a part of the list, as a whole."""
    idle_seconds: float = 30.0
    """For so long an idle connection is kept: less than the other end keeps it."""
    requests_max: int = 16


TIMEOUTS: Final = Timeouts()


class PeerClient:
    """The way to one other server; made in a running event loop.

    `url` is what that server advertises; with `socket_name` a Unix socket leads there. Raises
    Unreachable without touching the network while `health` says that the server is away, unless
    told to try `anyway`.
    """

    def __init__(
        self,
        signer: Signer,
        url: str,
        health: PeerHealth,
        *,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts = TIMEOUTS,
        socket_name: str = "",
    ) -> None:
        self.timeouts = timeouts
        self.peer = signer.addressee
        self._signer = signer
        self._url = url
        self._health = health
        self._slots = asyncio.Semaphore(timeouts.requests_max)
        self._pool = ConnectionPool(
            url,
            tls,
            connect_seconds=timeouts.connect_seconds,
            idle_seconds=timeouts.idle_seconds,
            socket_name=socket_name,
        )

    def close(self) -> None:
        """Ask no more: requests in flight, and those to come, are Unreachable."""
        self._pool.close()

    async def ask(
        self, request: PeerRequest, seconds: float, body: Bytes = b"", *, anyway: bool = False
    ) -> bytes:
        """Ask, and return the body of the answer, which is signed.

        `seconds` is how long it may take; a chunk, how long without progress. `anyway` is for
        what shall be tried whatever `health` says. Raises what the other server tells
        (ChunkUnknown, Corrupt, StoreFull, StoreUnusable), else Unreachable.
        """
        if not anyway:
            self._health.check()
        async with self._slots:
            if not anyway:
                self._health.admit()
            whole = self.timeouts.chunk_seconds if request.action is Action.GET else seconds
            try:
                with TRACING.asking(_SPANS[request.action], treescale__peer=self.peer) as trace:
                    async with asyncio.timeout(whole):
                        answer = await self._exchange(request, seconds, body, trace)
            except Exception as error:  # whatever the other end did, it is the one to blame
                raise self._judged(error) from error
            except BaseException:
                self._health.cancelled()
                raise
        if answer.status == HTTPStatus.GATEWAY_TIMEOUT:
            self._health.failed(reset=False)
        else:
            self._health.answered()
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise read_error(self.peer, answer.status, answer.body)
        return answer.body

    async def _exchange(
        self,
        request: PeerRequest,
        seconds: float,
        body: Bytes,
        trace: str,
        connection: PeerConnection | None = None,
    ) -> Received:
        """Return the signed answer; asks once more when a kept connection turns out to be closed.

        The request was then as a rule not even read; if it was, doing it twice is doing it once.
        """
        host, deadline_ms = reachable(self._url).authority, round(seconds * DEADLINE_SHARE * 1000)
        sent = write_request(
            self._signer, request, host, body, deadline_ms=deadline_ms, trace=trace
        )
        limit = ANSWER_BYTES_MAX.get(request.action, SMALL_BYTES_MAX)
        connection = connection or await self._pool.acquire()
        try:
            answer = await connection.ask(sent.head, body, limit, seconds)
        except ClosedWhileIdle:
            return await self._exchange(request, seconds, body, trace, await self._pool.connect())
        finally:
            self._pool.release(connection)
        sent.check(answer)
        return answer

    def _judged(self, error: Exception) -> Unreachable:
        """Tell what no answer says about the server; return what to tell the caller."""
        if isinstance(error, Refusal):
            self._health.refused(str(error))
        else:
            self._health.failed(reset=isinstance(error, OSError))  # TimeoutError is one, too
            if isinstance(error, Unreachable):
                return error
            if not isinstance(error, OSError):
                get_logger().error("peer.unforeseen", peer=self.peer, url=self._url, exc_info=error)
        return Unreachable(
            f"server {self.peer} did not answer: {str(error) or type(error).__name__}"
        )


async def ask_all(
    clients: Iterable[PeerClient], question: bytes, seconds: float, *, anyway: bool = False
) -> list[bytes]:
    """Return what they know, of those who say it within so many seconds; see `cache.exchange`.

    Who says nothing, or an error, is left out. `anyway`: those that are held to be down are asked
    as well.
    """

    async def ask(client: PeerClient) -> bytes | None:
        try:
            async with asyncio.timeout(seconds):
                return await client.ask(_KNOWN, seconds, question, anyway=anyway)
        except (Failed, TimeoutError):
            return None

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(client)) for client in clients]
    return [answer for task in asked if (answer := task.result()) is not None]
