"""Three servers of the demonstration's own: processes, what they log, and what lies on their disks.

Everything is below one temporary directory, the database too. Each server is a process group of its
own, so that none of its workers can be left behind.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from treescale.cli.demo.interruption import Interruption
from treescale.config import PASSWORD_VARIABLE, PREFIX
from treescale.errors import Failed

SERVERS: Final = 3
DATABASE: Final = "cluster.db"
STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a server's disk holds."""

    chunks: int
    size: int


class DemoServer:
    """`treescale serve` on a free port of 127.0.0.1; it keeps the port when it is started again."""

    def __init__(self, place: Path, name: str, password: str, interruption: Interruption) -> None:
        self.name = name
        self.address = f"127.0.0.1:{_free_port()}"
        self.url = f"http://{self.address}"
        self._data = place / name
        self._log = place / f"{name}.log"
        self._database = f"sqlite:///{place / DATABASE}"
        self._password = password
        self._interruption = interruption
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it says goes to its log."""
        command = [sys.executable, "-m", "treescale.cli.main", "serve", "--workers", "1"]
        command += ["--listen", self.address, "--data", str(self._data)]
        command += ["--database", self._database]
        # Settings of whoever runs the demonstration are for another server.
        own = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        with self._interruption.held(), self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                command,
                env=own | {PASSWORD_VARIABLE: self._password, f"{PREFIX}LOG_FORMAT": "json"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_running(self) -> None:
        """Raise Failed, with the last thing it said, when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            said = self._log.read_text(errors="replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            raise Failed(
                f"{self.name} ended with status {self._process.returncode}; its log ends: {last}"
            )

    def kill(self) -> None:
        """Do what `kill -9` does to the process that was started, and nothing else."""
        assert self._process is not None, "it was started"
        self._process.kill()
        self._process.wait()
        self._process = None

    def ask_to_stop(self) -> None:
        """Tell it to finish what it does, and end."""
        assert self._process is not None, "it was started"
        self._process.terminate()

    def wait_until_stopped(self) -> None:
        """Wait until it has ended as it was asked to; raises Failed when it does not."""
        assert self._process is not None, "it was started"
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not stop within {STOP_SECONDS:.0f} s") from None
        if status != 0:
            self.check_running()
        self._process = None

    def end(self) -> None:
        """Leave nothing of it running, whatever state it is in."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # all of it has ended already
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def held(self) -> Held:
        """Count the chunks on its disk."""
        found = (path for path in (self._data / "chunks").rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in found]
        return Held(len(sizes), sum(sizes))

    def has_met(self, other: "DemoServer") -> bool:
        """Say whether it has found the other one in the database."""
        return any(True for _ in self._about(other))

    def said_of(self, other: "DemoServer", states: tuple[str, ...], since: float) -> float | None:
        """Return when, after `since`, it first said that the other is in one of these states.

        Seconds since the epoch; None while it has not.
        """
        for event in self._about(other):
            when = datetime.fromisoformat(str(event["timestamp"])).timestamp()
            if event.get("state") in states and when >= since:
                return when
        return None

    def _about(self, other: "DemoServer") -> Iterator[Mapping[str, object]]:
        """Yield what it logged of the other, beginning with how they met."""
        peer: object = None
        for event in self._events():
            if event.get("event") == "neighbour.met" and event.get("url") == other.url:
                peer = event.get("peer")
            if peer is not None and event.get("peer") == peer:
                yield event

    def _events(self) -> Iterator[Mapping[str, object]]:
        for line in self._log.read_bytes().splitlines():
            if line.startswith(b"{"):
                try:
                    yield json.loads(line)
                except ValueError:  # it is being written just now
                    return


@contextmanager
def three_servers(
    place: Path, password: str, interruption: Interruption
) -> Iterator[tuple[DemoServer, ...]]:
    """Provide three servers, not started; in the end none runs, however the block was left."""
    servers = tuple(
        DemoServer(place, f"server{number}", password, interruption)
        for number in range(1, SERVERS + 1)
    )
    try:
        yield servers
    finally:
        for server in servers:
            server.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
