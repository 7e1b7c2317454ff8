"""A wire to PostgreSQL that breaks at a COMMIT: before the database has heard it, or after.

In both cases the server gets no answer and cannot know which it was.
"""

import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

COMMIT: Final = b"COMMIT;\0"
"""As asyncpg sends it, with the end of its string."""
PIECE_BYTES: Final = 64 * 1024


class Breaks(Enum):
    """Where the wire breaks, at each COMMIT."""

    NEVER = auto()
    BEFORE = auto()
    """The database does not hear it."""
    AFTER = auto()
    """The database has answered; the answer is lost."""


class WireToDatabase:
    """A context manager: within it, `port` of `address` leads to that port of the database."""

    def __init__(self, address: str, database_port: int) -> None:
        self.breaks = Breaks.NEVER
        self.broken = 0
        self._database = (address, database_port)
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._ended = False
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        """Begin."""
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections."""
        self._ended = True
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()[:2], 5).close()
        self._threads[0].join(10)
        for end in self._ends:
            _shut(end)
        for thread in self._threads:
            thread.join(10)
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self._ended:
                near.close()
                return
            far = socket.create_connection(self._database, 5)
            far.settimeout(None)
            self._ends += [near, far]
            for work in (self._ask, self._answer):
                self._threads.append(threading.Thread(target=work, args=(near, far)))
                self._threads[-1].start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        """Pass on what the server says, until the wire is to break."""
        with suppress(OSError):
            while piece := near.recv(PIECE_BYTES):
                if self.breaks is not Breaks.NEVER and piece.endswith(COMMIT):
                    self.broken += 1
                    if self.breaks is Breaks.BEFORE:
                        break
                    near.shutdown(socket.SHUT_WR)
                far.sendall(piece)
        _shut(near)
        _shut(far)

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        """Pass on what the database says; when nobody listens any more, the wire is broken."""
        with suppress(OSError):
            while piece := far.recv(PIECE_BYTES):
                near.sendall(piece)
        _shut(near)
        _shut(far)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
