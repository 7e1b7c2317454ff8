"""How long a connection may take over what: no client holds one for ever, however slowly it moves.

Slow is allowed, stuck is not. Heads fit into a few packets, so they get seconds. Bodies and answers
may take hours; only those are cut that bring next to nothing, measured while we wait for them (a
slow disk of ours is not the client's fault).
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar

from treescale.errors import BodyTooSlow


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a connection. Looked at every `look_seconds`, so each may be late by that."""

    head_seconds_max: float = 9.0
    """From a head's first byte to its last: three lost packets in a row, and a slow line."""
    silent_seconds_max: float = 20.0
    """From a connection's begin to the end of its first head: clients connect in reserve."""
    idle_seconds_max: float = 75.0
    """Between an answer and the next head."""
    handshake_seconds_max: float = 10.0
    """For a TLS handshake, and for saying goodbye."""
    body_window_seconds: float = 60.0
    body_window_bytes: int = 15 * 1024
    """A body brings so many bytes in so much waiting, or ends: 256 bytes a second, a modem's
    share when it pushes ten layers at once; and a client may pause for almost a minute."""
    login_body_window_seconds: float = 3600.0
    """The same for whoever is logged in: clients open the uploads of all layers at once and send a
    few at a time, or wait for where a layer comes from. They hold what their login opened."""
    answer_idle_seconds_max: float = 60.0
    """A client that takes nothing of an answer for so long is gone."""
    linger_seconds_max: float = 10.0
    """What an early answer left unread of a body is thrown away for so long, so that the client
    gets to read the answer."""
    look_seconds: float = 1.0


LIMITS: Final = Limits()

_Piece = TypeVar("_Piece")


class MinimumRate:
    """Waits for a body, and loses patience with one that hardly comes."""

    def __init__(self, limits: Limits, *, logged_in: bool = False) -> None:
        self._window_bytes = limits.body_window_bytes
        self._window_seconds = (
            limits.login_body_window_seconds if logged_in else limits.body_window_seconds
        )
        self._left = self._window_seconds
        self._bytes = 0

    def count(self, size: int) -> None:
        """Count what came: enough of it, and there is all the time again."""
        self._bytes += size
        if self._bytes >= self._window_bytes:
            self._left = self._window_seconds
            self._bytes = 0

    async def wait(self, piece: Awaitable[_Piece]) -> _Piece:
        """Return what of the body comes next when it is here; raises BodyTooSlow."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(self._left):
                arrived = await piece
        except TimeoutError:
            raise BodyTooSlow(
                f"the body hardly moves: send at least {self._window_bytes} bytes "
                f"in {self._window_seconds:g} seconds; an upload keeps what arrived"
            ) from None
        self._left -= loop.time() - begun
        return arrived
