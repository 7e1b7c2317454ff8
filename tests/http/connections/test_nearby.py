"""Whoever is on the same machine is sent to without pacing and by a short queue; others as ever."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tables import each_row
from treescale.http.connections.nearby import (
    PLAINEST,
    SEND_BUFFER_BYTES,
    is_nearby,
    send_at_once,
)

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_bytes().split()
NAME_BYTES = 16
ANOTHER = next(name for name in AVAILABLE if name != PLAINEST)


@contextmanager
def connected(client: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Return the server's end of a connection that has another congestion control."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, ANOTHER)
        with socket.create_connection(listener.getsockname(), source_address=(client, 0)):
            end, _ = listener.accept()
            with end:
                yield end


def control_of(end: socket.socket) -> bytes:
    return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_BYTES).rstrip(b"\0")


def buffer_of(end: socket.socket) -> int:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@each_row(
    ("sockname", "peername", "nearby"),
    [
        (("127.0.0.1", 5000), ("127.0.0.1", 40000), True),
        (("192.0.2.1", 5000), ("192.0.2.1", 40000), True),
        (("::1", 5000, 0, 0), ("::1", 40000, 0, 0), True),
        (("192.0.2.1", 5000), ("192.0.2.2", 40000), False),
        (("127.0.0.1", 5000), ("127.0.0.2", 40000), False),
        ("/run/socket", "", False),
        ("", "", False),
        (None, None, False),
        ((), (), False),
    ],
)
def test_who_is_nearby_has_our_own_address(
    sockname: object, peername: object, *, nearby: bool
) -> None:
    assert is_nearby(sockname, peername) is nearby


def test_what_is_sent_to_a_neighbour_is_not_paced() -> None:
    with connected() as end:
        assert is_nearby(end.getsockname(), end.getpeername())
        assert control_of(end) == ANOTHER
        send_at_once(end)
        assert control_of(end) == PLAINEST


def test_its_queue_stays_short() -> None:
    most = int(Path("/proc/sys/net/core/wmem_max").read_text(encoding="ascii"))
    with connected() as end:
        send_at_once(end)
        assert buffer_of(end) == 2 * min(SEND_BUFFER_BYTES, most)


class _Strict(socket.socket):
    """A socket on a machine that lets nobody choose how it is sent to."""

    def setsockopt(self, level: int, option: int, value: object, *more: object) -> None:
        if option == socket.TCP_CONGESTION and level == socket.IPPROTO_TCP:
            raise PermissionError
        super().setsockopt(level, option, value, *more)  # type: ignore[call-overload]


def test_a_machine_may_forbid_it() -> None:
    with connected() as end, _Strict(fileno=end.detach()) as strict:
        send_at_once(strict)
        assert control_of(strict) == ANOTHER
        with pytest.raises(PermissionError):
            strict.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, PLAINEST)
