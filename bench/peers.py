"""Starting and stopping what is measured: TreeScale, and Debian's docker-registry 2.8.2."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.wire import Connection, Target

start_seconds: Final = 30.0
PASSWORD: Final = "benchmark-password"  # noqa: S105  of a server that lives for minutes


@contextmanager
def treescale(directory: Path, workers: int) -> Iterator[Target]:
    """Run our server on a fresh directory, with its login, as it comes."""
    port = _free_port()
    command = [
        *(sys.executable, "-m", "treescale.cli.main", "serve"),
        *("--data", str(directory), "--listen", f"127.0.0.1:{port}", "--workers", str(workers)),
    ]
    environment = {**os.environ, "TREESCALE_ADMIN_PASSWORD": PASSWORD}
    with _running(command, environment, directory.with_suffix(".log")):
        target = Target("treescale", port, "admin/bench", "admin", PASSWORD)
        _wait_until_ready(target, "/readyz", 200)
        yield target


@contextmanager
def docker_registry(directory: Path) -> Iterator[Target]:
    """Run the peer with its filesystem driver and without a login."""
    port = _free_port()
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "config.yml"
    configuration.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'root'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    command = ["docker-registry", "serve", str(configuration)]
    with _running(command, dict(os.environ), directory.with_suffix(".log")):
        target = Target("docker-registry", port, "bench/bench")
        _wait_until_ready(target, "/v2/", 200)
        yield target


def children_cpu_seconds() -> float:
    """Return the user and system time of all processes waited for so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=start_seconds)


def _wait_until_ready(target: Target, path: str, status: int) -> None:
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline:
        try:
            connection = Connection(target)
            if connection.ask("GET", path).status == status:
                connection.close()
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{target.name} was not ready within {start_seconds} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
