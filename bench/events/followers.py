"""Followers of the log on one server, while tags are pushed to another: delay, CPU and memory.

Two servers on one PostgreSQL. A follower reads server-sent events on a connection of its own; the
delay is from the push's 201 until the follower has read the event, of all events and followers.
"""

import asyncio
import base64
import os
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final

from bench.processes import FORK, cpu_seconds, pss_mb
from bench.rows import Effort, Row, at_most
from bench.wire import Connection, Target, token_for
from bench.work.tiny import push_image
from tests.functional.programs import free_port
from tests.functional.server import Options, Server
from tests.postgres import running_postgres

FEW: Final = 20
MANY: Final = 1000
PUSHES_PER_SECOND: Final = {FEW: 20.0, MANY: 5.0}
SECONDS: Final = 15.0
SETTLE_SECONDS: Final = 3.0
ALL_READ_SECONDS_MAX: Final = 60.0
READ_POLL_SECONDS: Final = 0.05
DELAY_MS_MAX: Final = 50.0
P99: Final = 0.99
_EVENT: Final = re.compile(rb'"reference":"([0-9a-f]{16})"')
_JOINED: Final = b"\n: follow\n"
OTHER: Final = "other"
"""A second administrator: half of the places of a worker are for others than one user."""
_MB: Final = 1e6


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure a few followers at 20 pushes a second, and a thousand."""
    rows: list[Row] = []
    figures: dict[int, list[Mapping[str, float]]] = {FEW: [], MANY: []}
    for number in range(effort.rounds):
        with _two_servers(root / str(number)) as (pushed, followed):
            for count, found in figures.items():
                found.append(_follow(pushed, followed, count, effort.of(int(SECONDS))))
    for count, found in figures.items():
        rate = f"{PUSHES_PER_SECOND[count]:g} pushes a second to another server"
        what = f"{count:,} followers, {rate}"
        bar = at_most(DELAY_MS_MAX) if count == FEW else None
        rows += [
            Row(f"{what}: delay, p99", "ms", bar, [one["p99"] for one in found], digits=1),
            Row("their delay, median", "ms", None, [one["p50"] for one in found], digits=1),
            Row("CPU of their server per event", "ms", None, [o["cpu"] for o in found], digits=2),
            Row("memory that they take of it (PSS)", "MB", None, [o["mb"] for o in found]),
        ]
    return rows


@contextmanager
def _two_servers(root: Path) -> Iterator[tuple[Target, Target]]:
    with running_postgres() as postgres:
        asyncio.run(postgres.execute("postgres", "CREATE DATABASE bench TEMPLATE template0"))
        servers = [_server(root / name, postgres.url("bench")) for name in ("pushed", "followed")]
        try:
            for server in servers:
                server.start()
            pushed, followed = (_target(server, servers[0]) for server in servers)
            words = ("user", "add", OTHER, "--admin", "--password-stdin")
            servers[0].admin(*words, text_in=pushed.password)
            yield pushed, followed
        finally:
            for server in servers:
                server.crash()


def _server(home: Path, database: str) -> Server:
    port = free_port()
    advertise = f"http://127.0.0.1:{port}"
    return Server(home, Options(workers=1, port=port, database=database, advertise=advertise))


def _target(server: Server, first: Server) -> Target:
    account = first.admin_account
    return Target(
        "treescale",
        server.port,
        f"{account.name}/bench",
        account.name,
        account.password,
        pid=server.program.pid,
    )


def _follow(pushed: Target, followed: Target, count: int, seconds: int) -> Mapping[str, float]:
    """Push for so long while so many follow."""
    before = pss_mb(followed.pid)
    ours, theirs = FORK.Pipe()
    process: ForkProcess = FORK.Process(target=_followers, args=(followed, count, theirs))
    process.start()
    theirs.close()  # else nobody hears of its end
    assert ours.recv() == count, "all have joined"
    time.sleep(SETTLE_SECONDS)
    grown = pss_mb(followed.pid) - before
    began = cpu_seconds(followed.pid)
    told = _push(pushed, PUSHES_PER_SECOND[count], seconds)
    ours.send(count * len(told))
    read: list[tuple[bytes, float]] = ours.recv()
    spent = cpu_seconds(followed.pid) - began
    process.join()
    assert len(read) == count * len(told), f"{len(read)} events read, of {count * len(told)}"
    delays = sorted(1000 * (at - told[tag]) for tag, at in read)
    return {
        "p99": delays[int(len(delays) * P99)],
        "p50": statistics.median(delays),
        "cpu": 1000 * spent / len(told),
        "mb": grown,
    }


def _push(target: Target, rate: float, seconds: int) -> dict[bytes, float]:
    """Push tags at a rate; return when each was acknowledged."""
    told: dict[bytes, float] = {}
    with Connection(target, token_for(target)) as connection:
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tag = os.urandom(8).hex()
            push_image(connection, target, tag)
            told[tag.encode()] = time.perf_counter()
    return told


def _followers(target: Target, count: int, pipe: Pipe) -> None:
    """Follow on so many connections until told to end; tell what was read, and when."""
    asyncio.run(_follow_all(target, count, pipe))


async def _follow_all(target: Target, count: int, pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    read: list[tuple[bytes, float]] = []
    joined = [loop.create_future() for _ in range(count)]
    for number, each in enumerate(joined):
        user = OTHER if number % 2 else target.user
        await loop.create_connection(
            lambda each=each, user=user: _Follower(target, user, each, read),  # type: ignore[misc]
            target.host,
            target.port,
        )
        await each
    pipe.send(count)
    wanted = await asyncio.to_thread(pipe.recv)
    deadline = time.perf_counter() + ALL_READ_SECONDS_MAX
    while len(read) < wanted and time.perf_counter() < deadline:  # noqa: ASYNC110  it is polled
        await asyncio.sleep(READ_POLL_SECONDS)
    pipe.send(read)


class _Follower(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        target: Target,
        user: str,
        joined: "asyncio.Future[None]",
        read: list[tuple[bytes, float]],
    ) -> None:
        self._account = f"{user}:{target.password}".encode()
        self._joined = joined
        self._read = read
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"GET /api/v1/events?kind=image.pushed HTTP/1.1\r\nHost: localhost\r\n"
            b"Accept: text/event-stream\r\n"
            b"Authorization: Basic " + base64.b64encode(self._account) + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._rest + data
        if not self._joined.done():
            if _JOINED not in data:
                self._rest = data
                if not b"HTTP/1.1 200".startswith(data[:12]):
                    self._joined.set_exception(RuntimeError(f"no follower: {data!r}"))
                return
            self._joined.set_result(None)
        whole, end, self._rest = data.rpartition(b"\n\n")
        self._read += [(tag, now) for tag in _EVENT.findall(whole + end)]
