"""The servers of a soak, started with a lease of seconds, and what befalls them meanwhile."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source
from typing import Any

from sqlalchemy import func, select, table

from tests.functional.cluster.altered import altered
from tests.functional.cluster.nodes import complaints_in
from tests.functional.programs import free_port
from tests.functional.server import Options, Server
from tests.soak.client import Told
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, UNDELETE_SETTING, stored
from treescale.maintenance.collection.state import Mode
from treescale.metadata.database import opened
from treescale.metadata.migrations import migrate

PATIENCE_SECONDS = 180.0
"""So long a server may take to start or to stop: the machine is as busy as it can be."""
HURTS = ("killed", "killed", "stopped", "asleep")
WITHOUT = os.environ.get("SOAK_WITHOUT", "")
"""A protection that is switched off (`altered`): then the soak must fail."""
VARIABLES = (
    ("TREESCALE_UNSAFE_LEASES", "1"),
    ("TREESCALE_PUBLIC_URL", "https://registry.example.com"),
)


class Soaked:
    """Servers on one database, whose collection is switched on."""

    def __init__(self, home: Path, count: int, database: str, times: tuple[float, float]) -> None:
        """`times`: the lease, and for how long what was deleted can be restored."""
        self._url = database
        self._times = times
        self._one = threading.Lock()
        self.servers = [self._server(home / f"s{n + 1}", database, count) for n in range(count)]

    def _server(self, home: Path, database: str, count: int) -> Server:
        port = free_port()
        advertise = f"http://127.0.0.1:{port}" if count > 1 else ""
        workers = 1 if count > 1 else 2
        options = Options(
            workers=workers, port=port, database=database, advertise=advertise, variables=VARIABLES
        )
        if WITHOUT:
            options = replace(options, launcher=altered(WITHOUT))
        return Server(home, options)

    def start(self) -> None:
        """Start them, with these settings from the first moment."""
        asyncio.run(self._prepare())
        with ThreadPoolExecutor(len(self.servers)) as starting:
            list(starting.map(Server.start, self.servers))
        if len(self.servers) == 1:
            self.administer("collect")  # a store that is alone begins by itself after a while

    async def _prepare(self) -> None:
        await migrate(self._url)
        async with opened(self._url) as database:
            lease, undelete = self._times
            for name, value in (
                (LEASE_SETTING, stored(lease)),
                (UNDELETE_SETTING, stored(undelete)),
                (COLLECTION_SETTING, Mode.ON),
            ):
                await database.settings.put(name, value)

    def crash(self) -> None:
        """End all."""
        for server in self.servers:
            server.crash()

    def administer(self, *words: str) -> bool:
        """Run an administrator's command, one at a time; say whether it did what was asked."""
        with self._one:
            try:
                self.servers[0]._administer(*words)
            except AssertionError as error:
                if "Traceback" in str(error):
                    raise
                return False
        return True

    def status(self) -> dict[str, Any]:
        """Return what `cluster status` says."""
        with self._one:
            return self.servers[0].status()

    def rows(self, *tables: str) -> dict[str, int]:
        """Return how many rows these tables have."""
        return asyncio.run(self._rows(tables))

    async def _rows(self, tables: Sequence[str]) -> dict[str, int]:
        async with opened(self._url) as database:
            counted = [select(func.count()).select_from(table(name)) for name in tables]
            rows = [await database.connections.rows(each) for each in counted]
        return {name: int(found[0][0]) for name, found in zip(tables, rows, strict=True)}

    def complaints(self) -> list[str]:
        """Return what no log should have."""
        return [line for server in self.servers for line in complaints_in(server.log)]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return what the logs say of one kind of event."""
        return [
            json.loads(line)
            for server in self.servers
            for line in server.log.read_text(errors="replace").splitlines()
            if f'"event":"{kind}"' in line and line.endswith("}")
        ]

    @contextmanager
    def hurt(self, told: Told, chance: Random, every: float) -> Iterator[None]:
        """Have one server after the other killed, stopped, or put to sleep, within the block."""
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(every * (0.5 + chance.random())):
                self._hurt_one(chance, told)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _hurt_one(self, chance: Random, told: Told) -> None:
        server, how = chance.choice(self.servers), chance.choice(HURTS)
        told.count(how)
        if how == "asleep":  # longer than a lease: what it had put, and not recorded, may be gone
            os.killpg(server.program.pid, signal.SIGSTOP)
            time.sleep(self._times[0] * (0.2 + chance.random()))
            os.killpg(server.program.pid, signal.SIGCONT)
            return
        server.crash() if how == "killed" else server.stop(seconds=PATIENCE_SECONDS)
        time.sleep(chance.random() * 2)
        server.start(seconds=PATIENCE_SECONDS)
