"""A nursery of workers: `python -m tests.crash.worker` forks one for each order it reads.

It imports the product once, so that a worker serves a moment after it was ordered. A worker is
the product's own start and its own serving (`treescale.server`), in one process; only the disk and
the database's nouns are wrapped. Orders and answers are lines of JSON; see `nursery.py`.
"""

import asyncio
import gc
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest.mock import patch

import msgspec

from tests.crash.hurt import (
    Hurt,
    HurtDisk,
    Steps,
    count_nouns,
    count_statements,
    disk_store_on,
    forget_rules,
    forget_synchronous,
    requests_alone,
    say,
)
from treescale.cache.exchange import AnswerExchange
from treescale.chunks.disk.lock import DirectoryLock
from treescale.clock import SystemClock
from treescale.config import Settings
from treescale.metadata import database
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metrics.meters import Meters
from treescale.server.data import directories, local_stores
from treescale.server.network.address import Listeners
from treescale.server.processes.service_manager import Pulse
from treescale.server.run import set_up_logging
from treescale.server.shared import share
from treescale.server.start import prepare
from treescale.server.worker import be_worker

PASSWORD: Final = "correct horse battery staple"
ADDRESS: Final = "http://here:1"
"""Though each start has another port: it is one server that comes back."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is asked for."""

    data: str
    database: str
    labels: str
    """The file that gets the label of each step."""
    hurt: Hurt | None = None


class Serving(msgspec.Struct, frozen=True):
    """A worker that serves."""

    pid: int
    port: int


class Ended(msgspec.Struct, frozen=True):
    """A worker that is no more, and its wait status."""

    status: int


def main() -> None:
    """Fork a worker for each order, and say how it ended."""
    gc.collect()
    gc.freeze()  # else each worker, looking for garbage, gets pages of its own of all there is
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        pid = os.fork()
        if pid == 0:
            _be(order)
        _, status = os.waitpid(pid, 0)
        say(msgspec.json.encode(Ended(status)).decode())


def _be(order: Order) -> None:
    try:
        _serve(order)
    except BaseException:  # noqa: BLE001  told in the log, which a failed test shows
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(order: Order) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003  the standard library's signature
        settings = Settings(
            data=(order.data,), database=order.database, workers=1, advertise=ADDRESS
        )
        set_up_logging(settings)
        port: int = listener.getsockname()[1]
        serving = msgspec.json.encode(Serving(os.getpid(), port)).decode()
        if order.hurt is None:
            _run(settings, listener, lambda: say(serving))
            return
        steps = Steps(order.hurt, Path(order.labels))

        def ready() -> None:
            steps.arm()
            say(serving)

        disk = HurtDisk(steps, order.hurt)
        with (
            patch.object(directories, "Disk", lambda: disk),
            patch.object(local_stores, "DiskStore", disk_store_on(disk)),
            patch.object(database, "open_database", _counting(steps)),
            requests_alone(steps),
        ):
            count_statements(steps)
            forget_synchronous(order.hurt.forgets)
            forget_rules(order.hurt.forgets)
            _run(settings, listener, ready)


def _run(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    with DirectoryLock() as lock:
        clock, listeners = SystemClock(), Listeners([listener])
        prepared = prepare(settings, listeners, lock, PASSWORD, clock, lambda _: None)
        joined = asyncio.run(prepared)
        shared = share(settings, listeners, None, joined, lock.let_go, Pulse())
        be_worker(shared, ready)


def _counting(steps: Steps) -> Callable[..., Database]:
    def opened(
        url: str,
        *,
        exchange: AnswerExchange | None = None,
        file: DatabaseFile | None = None,
        meters: Meters | None = None,
    ) -> Database:
        counted = open_database(url, exchange=exchange, file=file, meters=meters)
        count_nouns(counted, steps)
        return counted

    return opened


if __name__ == "__main__":
    main()
