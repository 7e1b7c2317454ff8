"""Pulls while 50 live pages of the cluster are open, and without, in turns; what the pages cost.

One server with one worker, so that all of it is one process's. The pages are read by one thread.
"""

import selectors
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import treescale
from bench.processes import at_once, cpu_seconds
from bench.rows import Effort, Row, at_most
from bench.turns import ALONE, highest
from bench.wire import Connection, Target, pull, token_for
from bench.work.console import sign_in
from bench.work.layers import Layer

PAGES: Final = 50
LAYER_BYTES: Final = 100_000_000
TURNS: Final = 20
PULLS: Final = 4
"""Of one turn."""
SETTLED_SECONDS: Final = 2.0
CLOSED_SECONDS: Final = 3.0
"""Until the server knows that pages were closed; it has no more than 50 of one user open."""
QUIET_SECONDS: Final = 20.0
LONGER_TIMES_MAX: Final = 1.05


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure seconds of the pulls of a turn, and CPU with nothing but the pages."""
    layer = Layer(LAYER_BYTES)
    with treescale(root / "watched", flags=ALONE) as target:
        layer.push(target, 0)
        cookie, token = sign_in(target), token_for(target)
        work = [partial(_pulls, target, token, layer)]
        at_once(work)
        taken: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(effort.of(TURNS)):
            for watched in (True, False) if turn % 2 else (False, True):
                with ExitStack() as looking:
                    if watched:
                        looking.enter_context(_looked_at(target, cookie))
                    time.sleep(SETTLED_SECONDS)
                    taken[watched].append(at_once(work))
        idle = {watched: _idle(target, cookie, watched=watched) for watched in (True, False)}
    on, off = taken[True], taken[False]
    upper = "the same, upper end of the mean ratio's 95 % interval"
    return [
        Row("pulls of 400 MB, 50 live pages open", "s", None, on, off, 3, "none open"),
        Row(upper, "times", at_most(LONGER_TIMES_MAX), [highest(on, off)], digits=3),
        Row(
            "CPU of the server, 50 live pages open",
            "%",
            None,
            [idle[True]],
            [idle[False]],
            1,
            "none",
        ),
    ]


def _pulls(target: Target, token: str, layer: Layer) -> None:
    for _ in range(PULLS):
        pull(target, token, layer.digest, layer.size)


def _idle(target: Target, cookie: str, *, watched: bool) -> float:
    """Return the percentage of a core that the server takes while nobody pulls."""
    with ExitStack() as looking:
        if watched:
            looking.enter_context(_looked_at(target, cookie))
        time.sleep(SETTLED_SECONDS)
        before = cpu_seconds(target.pid)
        time.sleep(QUIET_SECONDS)
        return 100 * (cpu_seconds(target.pid) - before) / QUIET_SECONDS


@contextmanager
def _looked_at(target: Target, cookie: str) -> Iterator[None]:
    """Have the pages open, and read what comes, for the time of a block."""
    ended = threading.Event()
    time.sleep(CLOSED_SECONDS)
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for _ in range(PAGES):
            connection = opened.enter_context(Connection(target))
            answer = connection.ask("GET", "/-/cluster/live", f"Cookie: {cookie}\r\n")
            if answer.status != 200:  # noqa: PLR2004  OK
                raise RuntimeError(f"a live page answered {answer.status}")
            selector.register(connection.socket, selectors.EVENT_READ)
        reader = threading.Thread(target=_read, args=(selector, ended))
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()


def _read(selector: selectors.BaseSelector, ended: threading.Event) -> None:
    while not ended.is_set():
        for key, _ in selector.select(0.2):
            if not key.fileobj.recv(1 << 16):  # type: ignore[union-attr]
                selector.unregister(key.fileobj)
