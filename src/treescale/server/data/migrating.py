"""Migrations by a process of their own, which ends with them.

Alembic and what it imports are 12 MB, which every process that is forked later would have. So they
are imported by a fork, made before there are threads, that waits until it is needed.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from treescale.log import close_log, get_logger
from treescale.metadata.migrations import ELSEWHERE, migrate
from treescale.server.processes.process import die_with_parent


@contextmanager
def migrating_apart(url: str) -> Iterator[None]:
    """Have `migrate` import no Alembic within; where no process can be made, it does as ever.

    For a process that has no threads.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    with ours:
        try:
            with theirs:
                child = os.fork()
                if child == 0:
                    ours.close()
                    _be(url, theirs, parent)
        except OSError as error:
            get_logger().warning("migration.here", error=error.strerror)
            yield
            return
        ours.settimeout(0)

        async def ask() -> None:
            loop = asyncio.get_running_loop()
            try:
                await loop.sock_sendall(ours, b"?")
                await loop.sock_recv(ours, 1)  # or nothing: it has ended
            except ConnectionError as error:
                get_logger().warning("migration.here", error=error.strerror)

        token = ELSEWHERE.set(ask)
        try:
            yield
        finally:
            ELSEWHERE.reset(token)
            os.kill(child, signal.SIGKILL)  # it has nothing to do, or the start was stopped
            os.waitpid(child, 0)


def _be(url: str, asked: socket.socket, parent: int) -> None:
    """Wait until it is asked for; migrate, say so, and end."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        die_with_parent(parent)
        if asked.recv(1):
            asyncio.run(migrate(url))
            asked.send(b"+")
        status = 0
    except Exception as error:  # noqa: BLE001  whoever asked tries it too, and raises what comes
        get_logger().warning("migration.failed", error=str(error))
    finally:
        close_log()
        os._exit(status)
