"""Two registries of the same program in turns, one with many accounts and one with few.

Whoever asks comes once and is then another, so no answer that a worker keeps hides the database:
of the few there are as many as that takes. What the server is asked a second time is a row of its
own. The two are asked in turn, request by request, for the machine drifts within seconds, and run
on one core, for two cores of a busy machine differ by a third. Neither has anything to do while the
other is asked.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from bench.accounts import asking
from bench.accounts.filling import (
    TOKENS_OF_USER,
    Population,
    fill_postgres,
    fill_sqlite,
    token_id,
    user_name,
    user_of,
)
from bench.peers import treescale
from bench.processes import cpu_seconds, pss_mb
from bench.rows import Effort, Row, at_most
from bench.wire import Connection, Target
from tests.postgres import running_postgres
from treescale.config import DATABASE_FILE

MANY: Final = Population(100_000, 10_000, 100_000)
FEW: Final = Population(2_000, 200, 8_000)
SLOWER_TIMES_MAX: Final = 1.2
FELT_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.02
REST_SECONDS: Final = 35.0
"""Longer than the period of whatever work goes on in the background more often than once a minute.
"""
SETTLE_SECONDS: Final = 5.0
P99: Final = 0.99
ALONE: Final = ("--workers", "1")
OK: Final = 200
UNAUTHORIZED: Final = 401
_SERVERS: Final = {max(os.sched_getaffinity(0))}
"""The core that both servers run on."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A server with so many accounts, and what commands find it by."""

    of: Population
    target: Target
    where: Sequence[str]
    started_seconds: float


def measure_sqlite(root: Path, effort: Effort) -> list[Row]:
    """Measure with SQLite."""

    def fill(home: Path, of: Population) -> Sequence[str]:
        with treescale(home):
            pass
        fill_sqlite(home / DATABASE_FILE, of, "admin")
        return ("--data", str(home))

    with _one_core():
        return _rows("SQLite", root, effort, fill)


def measure_postgres(root: Path, effort: Effort) -> list[Row]:
    """Measure with PostgreSQL, a database for each of the two."""
    with _one_core(), running_postgres("shared_buffers=512MB") as server:

        def fill(home: Path, of: Population) -> Sequence[str]:
            name = home.name
            asyncio.run(server.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0"))
            where = ("--data", str(home), "--database", server.url(name))
            with treescale(home, flags=where[2:]):
                pass
            fill_postgres(server.url(name), of, "admin")
            return where

        return _rows("PostgreSQL", root, effort, fill)


def _rows(
    engine: str,
    root: Path,
    effort: Effort,
    fill: Callable[[Path, Population], Sequence[str]],
) -> list[Row]:
    began = time.perf_counter()
    where = [fill(root / name, of) for name, of in (("many", MANY), ("few", FEW))]
    filled = time.perf_counter() - began
    with ExitStack() as stack:
        many, few = (
            stack.enter_context(_running(of, words))
            for of, words in zip((MANY, FEW), where, strict=True)
        )
        rows = [
            Row(f"{engine}: filling both databases", "s", None, [filled]),
            Row(
                f"{engine}: from start to ready",
                "s",
                None,
                [many.started_seconds],
                [few.started_seconds],
                2,
                "few",
            ),
        ]
        rows.append(_at_rest(engine, many, few, effort))
        for kind, (ask, asked) in asking.KINDS.items():
            rows += _compared(f"{engine}: {kind}", many, few, ask, (effort, effort.of(asked)))
        held = [pss_mb(one.target.pid) for one in (many, few)]
        rows.append(
            Row(f"{engine}: memory of the server", "MB", None, held[:1], held[1:], 0, "few")
        )
        return [*rows, *_commands(engine, many)]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a request took: until its answer was whole, and of the server's processors."""

    seconds: float
    cpu_seconds: float


@contextmanager
def _running(of: Population, where: Sequence[str]) -> Iterator[Registry]:
    began = time.perf_counter()
    others = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _SERVERS)
    with treescale(Path(where[1]), flags=(*ALONE, *where[2:])) as target:
        os.sched_setaffinity(0, others)
        yield Registry(of, target, where, time.perf_counter() - began)


@contextmanager
def _one_core() -> Iterator[None]:
    """Leave a core to the two servers, where there is another one."""
    found = os.sched_getaffinity(0)
    os.sched_setaffinity(0, found - _SERVERS or found)
    try:
        yield
    finally:
        os.sched_setaffinity(0, found)


def _at_rest(engine: str, many: Registry, few: Registry, effort: Effort) -> Row:
    """Return the CPU of both while nobody asks."""
    time.sleep(SETTLE_SECONDS)
    pids = many.target.pid, few.target.pid
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(max(1.0, effort.scale * REST_SECONDS))
    used = [1000 * (cpu_seconds(pid) - was) for pid, was in zip(pids, before, strict=True)]
    bar = at_most(SLOWER_TIMES_MAX)
    return Row(f"{engine}: CPU at rest", "ms", bar, used[:1], used[1:], 0, "among few")


def _compared(
    what: str, many: Registry, few: Registry, ask: asking.Asking, effort: tuple[Effort, int]
) -> list[Row]:
    """Return p50 and p99 of a kind of request, of all rounds after one that is not counted.

    And those of the server's CPU, which are less in doubt on a machine that has other work.
    """
    rounds, asked = effort[0].rounds, effort[1]
    times: tuple[list[_Taken], list[_Taken]] = ([], [])
    for first in range(0, (rounds + 1) * asked, asked):
        with Connection(many.target) as one, Connection(few.target) as other:
            found = times if first else ([], [])
            sides = [(many, one, found[0]), (few, other, found[1])]
            for number in range(first, first + asked):
                for registry, connection, kept in reversed(sides) if number % 2 else sides:
                    before = cpu_seconds(registry.target.pid)
                    lasted = _seconds(connection, *ask(registry.of, number))
                    kept.append(_Taken(lasted, cpu_seconds(registry.target.pid) - before))
    bar, rows = at_most(SLOWER_TIMES_MAX), []
    for name, share, taken in (
        ("p50", 0.5, attrgetter("seconds")),
        ("p99", P99, attrgetter("seconds")),
        ("CPU p50", 0.5, attrgetter("cpu_seconds")),
        ("CPU p99", P99, attrgetter("cpu_seconds")),
    ):
        ours, theirs = (1000 * sorted(map(taken, side))[int(len(side) * share)] for side in times)
        rows.append(Row(f"{what}, {name}", "ms", bar, [ours], [theirs], 2, "among few"))
    return rows


def _seconds(connection: Connection, path: str, headers: str, wanted: bytes) -> float:
    """Return how long an answer takes; raises unless it is the wanted one."""
    began = time.perf_counter()
    answer = connection.ask("GET", path, headers)
    body = connection.body(answer)
    lasted = time.perf_counter() - began
    if answer.status != OK or wanted not in body:
        raise RuntimeError(f"GET {path} answered {answer.status}, {body[:300]!r}")
    return lasted


def _commands(engine: str, many: Registry) -> list[Row]:
    """Measure commands beside the server, and how long it takes until they are felt."""
    began = time.perf_counter()
    listed = _run(many, "user", "list")
    listing = time.perf_counter() - began
    if len(listed.splitlines()) < many.of.users:
        raise RuntimeError(f"user list printed {len(listed.splitlines())} lines")
    bar, user = at_most(FELT_SECONDS_MAX), many.of.users // 2
    token, other = user * TOKENS_OF_USER, (user + 1) * TOKENS_OF_USER
    felt_token = _felt(many, token, "token", "revoke", token_id(token))
    where, name = many.of.organisation_of(user + 1), user_name(user + 1)
    felt_role = _felt(many, other, "org", "revoke", where, name)
    return [
        Row(f"{engine}: `treescale user list`", "s", None, [listing], digits=1),
        Row(f"{engine}: from `token revoke` until felt", "s", bar, [felt_token], digits=2),
        Row(f"{engine}: from `org revoke` until felt", "s", bar, [felt_role], digits=2),
    ]


def _felt(many: Registry, token: int, *words: str) -> float:
    """Return how long after a command's end a bearer token of before is still good."""
    path, headers, _ = asking.token(many.of, token)
    with Connection(many.target) as connection:
        bearer = json.loads(connection.body(connection.ask("GET", path, headers)))["token"]
    asked = asking.tags(many.of.organisation_of(user_of(token)))
    with Connection(many.target, bearer) as connection:
        connection.expect(OK, "GET", asked)
        _run(many, *words)
        began = time.perf_counter()
        while time.perf_counter() < began + 2 * FELT_SECONDS_MAX:
            answer = connection.ask("GET", asked)
            connection.discard(answer)
            if answer.status == UNAUTHORIZED:
                return time.perf_counter() - began
            time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{' '.join(words)} was not felt")


def _run(registry: Registry, *words: str) -> str:
    command = [sys.executable, "-m", "treescale", *words, *registry.where]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
