"""The test's end of `worker.py`: order a worker, talk to it, see it die."""

import contextlib
import http.client
import os
import signal
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.crash.hurt import Hurt
from tests.crash.worker import PASSWORD, Ended, Order, Serving
from tests.functional import warm

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
        (theirs, orders), (answers, said) = os.pipe(), os.pipe()
        self._orders, self._answers = os.fdopen(orders, "wb"), os.fdopen(answers, "rb")
        argv = [sys.executable, "-m", "tests.crash.worker"]
        with log.open("ab") as errors:
            env = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self._process = warm.start(argv, env, stdin=theirs, output=said, errors=errors.fileno())
        os.close(theirs)
        os.close(said)

    def start(self, home: Home, hurt: Hurt | None = None) -> None:
        """Return when a worker serves what is at `home`, having prepared it as a server does."""
        assert self._serving is None, "one at a time"
        self.labels.write_text("")
        order = Order(data=str(home.data), database=home.url, labels=str(self.labels), hurt=hurt)
        self._orders.write(msgspec.json.encode(order) + b"\n")
        self._orders.flush()
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
        self._orders.close()
        self._process.wait(20)
        self._answers.close()

    def _line(self, kind: type[_Line]) -> _Line:
        line = self._answers.readline()
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.ValidationError:
            raise AssertionError(
                f"{line!r}; the worker said:\n{self.log.read_text()[-4000:]}"
            ) from None


__all__ = ["PASSWORD", "Home", "Nursery"]
