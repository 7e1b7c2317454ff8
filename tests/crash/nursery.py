"""The test's end of `worker.py`: order a worker, talk to it, see it die."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tests.crash.hurt import Hurt
from tests.crash.worker import PASSWORD, Ended, Order, Serving

ROOT: Final = Path(__file__).parents[2]
_Line = TypeVar("_Line")


class Home:
    """A directory that a server keeps everything in, or `database` elsewhere."""

    def __init__(self, data: Path, database: Path | None = None) -> None:
        self.data = data
        self.database = database or data / "treescale.db"

    @property
    def url(self) -> str:
        """Return the database's URL."""
        return f"sqlite:///{self.database}"


class Nursery:
    """Workers, one at a time. `connect` reaches the one that serves."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.labels = log.with_suffix(".labels")
        self._serving: Serving | None = None
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.worker"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": _path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )

    def start(self, home: Home, hurt: Hurt | None = None) -> None:
        """Return when a worker serves what is at `home`, having prepared it as a server does."""
        assert self._serving is None, "one at a time"
        self.labels.write_text("")
        order = Order(data=str(home.data), database=home.url, labels=str(self.labels), hurt=hurt)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        self._serving = self._line(Serving)

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection to the worker."""
        assert self._serving is not None
        return http.client.HTTPConnection("127.0.0.1", self._serving.port, timeout=30)

    def end(self) -> None:
        """Kill the worker, if it has not died already."""
        assert self._serving is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._serving.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Return when the worker is dead: killed, and not failed by itself."""
        ended = self._line(Ended)
        self._serving = None
        assert os.WIFSIGNALED(ended.status), f"the worker ended by itself; see {self.log}"

    def pause(self) -> int:
        """Stop the worker where it is, as a machine without power stops; return its id."""
        assert self._serving is not None
        os.kill(self._serving.pid, signal.SIGSTOP)
        return self._serving.pid

    def go_on(self) -> None:
        """Let a worker go on that was stopped."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Return the worker's process id."""
        assert self._serving is not None
        return self._serving.pid

    def steps(self) -> list[str]:
        """Return the labels of the steps that the last worker made."""
        return self.labels.read_text().splitlines()

    def close(self) -> None:
        """End everything."""
        if self._serving is not None:
            self.end()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _line(self, kind: type[_Line]) -> _Line:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.ValidationError:
            raise AssertionError(
                f"{line!r}; the worker said:\n{self.log.read_text()[-4000:]}"
            ) from None


def _path() -> str:
    """Return where the package under test and these tests are found."""
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))


__all__ = ["PASSWORD", "Home", "Nursery"]
