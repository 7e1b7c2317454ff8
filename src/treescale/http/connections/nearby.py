"""Connections whose other end is on the same machine, as that of a proxy: how they are sent to.

There is no wire to share and none to fill. A congestion control that paces (BBR, where it is the
machine's default) measures the speed of the reader, and then holds what is sent to it by timers:
so the kernel's plainest is asked for, which it always has. And a send buffer that grows to some MiB
only keeps a reader busy without a pause: with a short one both ends take turns.
"""

import socket
from contextlib import suppress
from typing import Final, Protocol

SEND_BUFFER_BYTES: Final = 768 * 1024
"""What the kernel doubles, for what it needs beside; less where `net.core.wmem_max` says so."""
PLAINEST: Final = b"reno"


class Wire(Protocol):
    """A TCP socket, or what a loop shows instead of one."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Set an option."""
        ...


def is_nearby(sockname: object, peername: object) -> bool:
    """Say whether both ends of a connection have the same address: what goes there stays here."""
    if not (isinstance(sockname, tuple) and isinstance(peername, tuple)):
        return False  # no TCP
    return bool(sockname[:1] == peername[:1] != ())


def send_at_once(wire: Wire) -> None:
    """Have what is sent to somebody on the same machine leave without pacing, and queue briefly."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    with suppress(OSError):  # a machine may forbid it: then what is sent is paced
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, PLAINEST)
