"""How much of what a socket was given has reached the other end: a number that moves, or not."""

import fcntl
import socket
from typing import Final, Protocol

_ACKED: Final = slice(120, 128)
"""Where Linux's struct tcp_info has tcpi_bytes_acked."""
_SIOCOUTQ: Final = 0x5411


class Wire(Protocol):
    """A socket, or what a loop shows instead of one."""

    family: int

    def fileno(self) -> int:
        """Return its descriptor."""
        ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return an option."""
        ...


def taken(wire: Wire) -> bytes:
    """Return something that changes when the other end has taken bytes, as long as none are added.

    TCP counts what was acknowledged. A Unix socket only says how much of it still waits.
    """
    if wire.family == socket.AF_UNIX:
        return fcntl.ioctl(wire.fileno(), _SIOCOUTQ, bytes(4))
    return wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)[_ACKED]
