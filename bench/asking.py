"""One request sent over and over on many connections, from one thread: HEAD, which no tool asks.

Each connection has one request in flight. An answer is a header that ends what was received; one
that is not a 200 raises. It costs some ten microseconds a request, on the cores the server has too,
and the same for both: what it finds a server ahead is rather less than what that server is ahead.
"""

import select
import time
from dataclasses import dataclass
from typing import Final

from bench.wire import Connection, Target

ANSWER_BYTES: Final = 16384
WAIT_SECONDS: Final = 10.0
OK: Final = b"HTTP/1.1 200"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run measured."""

    per_second: float
    p99_ms: float


def ask_head(
    target: Target, token: str, path: str, accept: str, connections: int, lasting: float
) -> Load:
    """Ask HEAD for so many seconds; raises unless every answer is a 200."""
    opened = [Connection(target, token) for _ in range(connections)]
    try:
        request = opened[0].request("HEAD", path, f"Accept: {accept}\r\n")
        return _ask(opened, request, lasting)
    finally:
        for connection in opened:
            connection.socket.close()


def _ask(opened: list[Connection], request: bytes, lasting: float) -> Load:
    clock = time.perf_counter
    sockets = {connection.socket.fileno(): connection.socket for connection in opened}
    poll = select.epoll()
    sent: dict[int, float] = {}
    times: list[float] = []
    began = clock()
    until = began + lasting
    for number, one in sockets.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = clock()
        one.sendall(request)
    now = began
    while now < until:
        ready = poll.poll(WAIT_SECONDS)
        if not ready:
            raise TimeoutError(f"no answer within {WAIT_SECONDS} s")
        for number, _ in ready:
            one = sockets[number]
            answer = one.recv(ANSWER_BYTES)
            if not answer.startswith(OK) or not answer.endswith(b"\r\n\r\n"):
                raise RuntimeError(f"HEAD was answered with {answer!r}")
            now = clock()
            times.append(now - sent[number])
            sent[number] = now
            one.sendall(request)
    poll.close()
    times.sort()
    return Load(len(times) / (now - began), times[int(len(times) * 0.99)] * 1000)
