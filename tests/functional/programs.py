"""Real programs: run to their end, or kept running and ended by their process id.

Every program has its output in a file; the report of a failed test shows the end of each.
Waiting is always for a condition and always bounded.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.functional import warm

RUN_SECONDS_MAX = 60
PAUSE_SECONDS_MAX: Final = 0.6
"""Between two looks of a wait that take long."""


def run(
    *argv: str | Path,
    text_in: str = "",
    env: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS_MAX,
) -> str:
    """Run a program that must succeed, and return all it printed."""
    code, output = outcome(*argv, text_in=text_in, env=env, seconds=seconds)
    assert code == 0, f"{_line(argv)} ended with {code} and said:\n{output}"
    return output


def refused(
    *argv: str | Path,
    text_in: str = "",
    env: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS_MAX,
) -> str:
    """Run a program that must fail, and return all it printed."""
    code, output = outcome(*argv, text_in=text_in, env=env, seconds=seconds)
    assert code != 0, f"{_line(argv)} should have failed, and said:\n{output}"
    return output


def outcome(
    *argv: str | Path,
    text_in: str = "",
    env: Mapping[str, str] | None = None,
    seconds: float = RUN_SECONDS_MAX,
) -> tuple[int, str]:
    """Run a program and return its exit code and all it printed."""
    words, environment = [str(word) for word in argv], {**os.environ, **(env or {})}
    if warm.is_warm(words, environment):
        return _outcome_of_a_fork(words, environment, text_in, seconds)
    try:
        done = subprocess.run(
            words,
            input=text_in,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(
            f"{_line(argv)} still ran after {seconds} s; it had said:\n{late.output}"
        ) from late
    return done.returncode, done.stdout


def _outcome_of_a_fork(
    argv: Sequence[str], env: Mapping[str, str], text_in: str, seconds: float
) -> tuple[int, str]:
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as said:
        read.write(text_in.encode())
        read.seek(0)
        process = warm.start(argv, env, stdin=read.fileno(), output=said.fileno())
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            code = process.wait(RUN_SECONDS_MAX)
            late = f"{_line(argv)} still ran after {seconds} s"
        else:
            late = ""
        said.seek(0)
        output = said.read().decode()
    assert not late, f"{late}; it had said:\n{output}"
    return code, output


def wait_until(
    what: str, ready: Callable[[], bool], *, seconds: float = 20, every: float = 0.02
) -> None:
    """Return once `ready()` is true; ask `every` so many seconds, give up after `seconds`.

    What takes long to be asked is asked less often: else it would take a processor from the answer.
    """
    begun = time.monotonic()
    deadline = begun + seconds
    while not ready():
        now = time.monotonic()
        assert now < deadline, f"{what}: not within {seconds} s"
        time.sleep(max(every, min(2 * (now - begun), PAUSE_SECONDS_MAX)))
        begun = time.monotonic()


def in_namespace(name: str) -> tuple[str, ...]:
    """Return what runs a program in a network namespace, and leaves it the mounts of all.

    `ip netns exec` gives it mounts of its own. A file system that another test had mounted then
    would stay in use there, however often that test unmounts it.
    """
    return ("nsenter", f"--net=/run/netns/{name}")


def _ports() -> Iterator[int]:
    """Yield ports below those that the kernel calls from; each test process begins elsewhere."""
    first, count = 12_000, 20_000
    for number in itertools.count(os.getpid() * 997):
        yield first + number % count


_PORTS: Final = _ports()


def free_port() -> int:
    """Return a port of 127.0.0.1 nobody listens on just now, nor will call from."""
    while True:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def children_of(pid: int) -> list[int]:
    """Return the process ids that `pid` started and that still run."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    return []


def workers_of(pid: int) -> list[int]:
    """Return the process ids of the workers of a server, by its supervisor's."""
    return [child for child in children_of(pid) if _name(child) == "ts-worker"]


def _name(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def alive(pid: int) -> bool:
    """Return whether the process runs (one that waits to be reaped does not)."""
    return _state_and_group(f"/proc/{pid}/stat")[0] not in "ZX"


def group_runs(group: int) -> bool:
    """Return whether any thread of a process group runs: until then its files are open."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    members = [pid for pid in pids if _state_and_group(f"/proc/{pid}/stat")[1] == group]
    return any(
        _state_and_group(f"/proc/{pid}/task/{task}/stat")[0] not in "ZX"
        for pid in members
        for task in _names(f"/proc/{pid}/task")
    )


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208  /proc changes under our feet
    except (FileNotFoundError, ProcessLookupError):
        return []


def _state_and_group(stat: str) -> tuple[str, int]:
    """Return the state and the process group in a stat file of /proc; X and 0 when it is gone."""
    try:
        words = Path(stat).read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return words[0], int(words[2])


def unmount_below(directory: Path) -> None:
    """Unmount what a program left: in a chroot dockerd does not know its own mounts again."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if Path(point).is_relative_to(directory):
            run("umount", point)


class Program:
    """A program that runs beside the test, in a process group of its own."""

    running: "list[Program]" = []  # noqa: RUF012  one list for all, for the report of a failure

    def __init__(self, *argv: str | Path, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._process: warm.Process | None = None

    def start(self) -> None:
        """Start it; its output is added to the log."""
        with self.log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            self._process = warm.start(
                self.argv, self._env, stdin=nothing.fileno(), output=output.fileno()
            )
        self.running.append(self)

    def start_until(self, what: str, ready: Callable[[], bool], *, seconds: float) -> None:
        """Start it and return once `ready()`; when it never is, end it and show its log."""
        self.start()

        def ready_and_alive() -> bool:
            self.check_alive()
            return ready()

        try:
            wait_until(what, ready_and_alive, seconds=seconds)
        except AssertionError as failed:
            self.kill()
            raise AssertionError(f"{failed}\n{self.log_end()}") from None

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None, f"{self.argv[0]} was never started"
        return self._process.pid

    def check_alive(self) -> None:
        """Fail with the end of its log when it has ended."""
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"{_line(self.argv)} has ended")

    def stop(self, *, seconds: float = 20) -> int:
        """Ask it to end and return its exit code; kill what is left after `seconds`, and fail."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{_line(self.argv)} ignored SIGTERM for {seconds} s") from None
        finally:
            self.kill()

    def wait(self, *, seconds: float) -> int:
        """Return its exit code once it has ended by itself."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{_line(self.argv)} still ran after {seconds} s:\n{self.log_end()}"
            ) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all it started, at once, as a power cut would."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        group = self._process.pid
        wait_until(f"all of {self.argv[0]} is gone", lambda: not group_runs(group))
        with contextlib.suppress(ValueError):
            self.running.remove(self)

    def log_end(self, lines: int = 60) -> str:
        """Return the last lines of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _line(argv: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in argv)
