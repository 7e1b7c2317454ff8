"""The supervisor with workers that do not work; the working ones are in tests/functional.

Each supervisor runs in a process of its own, since it blocks signals and forks.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from treescale.clock import SystemClock
from treescale.log import configure_logging, get_logger
from treescale.server.processes.backoff import RESPAWN_SECONDS_MAX
from treescale.server.processes.process import Stopped, ready_process, stop_at_once
from treescale.server.processes.supervisor import Kind, ProcessFailed, Supervisor, Work
from treescale.server.shared import Flag

pytestmark = [pytest.mark.long, pytest.mark.early]  # processes are started, and time passes

SYS_EXIT = 60 if platform.machine() == "x86_64" else 93
SECONDS_MAX = 30


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen, and give back the signals that a supervisor blocks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(_ready: Callable[[], None]) -> None:
    """Return without a word."""


def fail(_ready: Callable[[], None]) -> None:
    """Raise what nobody expected."""
    raise RuntimeError("a worker of a test")


def crash(_ready: Callable[[], None]) -> None:
    """Be gone."""
    os._exit(3)


def hang(_ready: Callable[[], None]) -> None:
    """Never get ready."""
    time.sleep(60)


def serve(ready: Callable[[], None]) -> None:
    """Get ready, and end when told to."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ready()
    time.sleep(60)


def be_deaf(ready: Callable[[], None]) -> None:
    """Get ready, and never heed SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    time.sleep(60)


def die_soon(ready: Callable[[], None]) -> None:
    """Get ready, and fall over."""
    ready()
    time.sleep(0.05)
    os._exit(7)


def workers(work: Work) -> Kind:
    """Return two that the server cannot be without."""
    return Kind("worker", work, count=2, needed=True)


@pytest.mark.parametrize("work", [end, fail, crash])
def test_a_worker_that_does_not_get_ready_ends_the_start(
    listener: socket.socket, work: Work
) -> None:
    before = children()  # other tests' databases, perhaps
    supervisor = Supervisor([workers(work)], listener, clock=SystemClock())
    with pytest.raises(ProcessFailed):
        supervisor.start()
    assert children() == before


def children(of: int | None = None) -> list[int]:
    """Return the processes that a process has made and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == (of or os.getpid()) and state not in "ZX":
            found.append(int(path.parent.name))
    return sorted(found)


def until(happened: Callable[[], object]) -> float:
    """Return after how many seconds it has happened."""
    begun = time.monotonic()
    while not happened():
        assert time.monotonic() - begun < SECONDS_MAX, "it does not happen"
        time.sleep(0.01)
    return time.monotonic() - begun


@dataclass
class Running:
    """A supervisor in a process of its own."""

    pid: int
    log: Path
    limit: Path

    def events(self, name: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]

    def workers(self) -> list[int]:
        return children(self.pid)

    def serves(self) -> bool:
        return self.log.with_suffix(".started").exists()

    def wait(self) -> tuple[int, float]:
        """Return its status and how many seconds that took."""
        found = (0, 0)

        def ended() -> bool:
            nonlocal found
            found = os.waitpid(self.pid, os.WNOHANG)
            return found[0] != 0

        seconds = until(ended)
        self.pid = 0
        return os.waitstatus_to_exitcode(found[1]), seconds


Begin = Callable[..., Running]


def supervise(work: Work, others: Sequence[Kind], log: Path, limit: Path) -> None:
    """Be a supervisor with two workers and others.

    While `limit` is there, forks fail with what it says.
    """
    fork = os.fork

    def limited() -> int:
        if limit.exists():
            number = int(limit.read_text() or errno.EAGAIN)
            raise OSError(number, os.strerror(number))
        return fork()

    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    configure_logging(json=True, fd=fd)
    stop_at_once()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `ready_process` does
    listener = socket.create_server(("127.0.0.1", 0))
    with patch("treescale.server.processes.supervisor.os.fork", limited):
        supervisor = Supervisor(
            [workers(work), *others],
            listener,
            clock=SystemClock(),
            hung_up=lambda: get_logger().info("hung.up"),
        )
        supervisor.start()
        log.with_suffix(".started").touch()
        supervisor.run()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Return what starts a supervisor in a process of its own."""
    log, limit = tmp_path / "log", tmp_path / "limit"
    made: list[Running] = []

    def begin(work: Work, *others: Kind) -> Running:
        log.touch()
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                supervise(work, others, log, limit)
                status = 0
            except Stopped:
                status = 0
            except ProcessFailed:
                status = 1
            finally:
                os._exit(status)
        made.append(Running(pid, log, limit))
        return made[-1]

    yield begin
    for running in made:
        if running.pid:
            workers = running.workers()
            os.kill(running.pid, signal.SIGKILL)
            os.waitpid(running.pid, 0)
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))  # noqa: B023


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("work", [hang, serve])
def test_it_ends_at_any_time(begin: Begin, work: Work, number: signal.Signals) -> None:
    running = begin(work)
    until(lambda: len(running.workers()) == 2)
    workers = running.workers()
    os.kill(running.pid, number)
    status, seconds = running.wait()
    assert status == 0
    assert seconds < 3
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_hanging_up_is_heard_and_ends_nothing(begin: Begin) -> None:
    running = begin(serve)
    until(running.serves)
    workers = running.workers()
    for count in (1, 2):
        for pid in (running.pid, *workers):
            os.kill(pid, signal.SIGHUP)
        until(lambda: len(running.events("hung.up")) == count)  # noqa: B023
    assert running.workers() == workers
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait()[0] == 0


def test_a_dead_worker_is_replaced_at_once(begin: Begin) -> None:
    running = begin(serve)
    until(running.serves)
    first, second = running.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: len(running.workers()) == 2 and first not in running.workers())
    assert second in running.workers()
    until(lambda: running.events("worker.died"))
    assert running.events("worker.died")[0]["status"] == -signal.SIGKILL


def test_a_worker_that_is_killed_while_another_serves_does_not_end_the_start(
    begin: Begin, tmp_path: Path
) -> None:
    slow, serving = tmp_path / "slow", tmp_path / "serving"

    def serve_second(ready: Callable[[], None]) -> None:
        with suppress(FileExistsError), slow.open("x") as opened:
            opened.write(str(os.getpid()))
            opened.flush()
            time.sleep(60)

        def told() -> None:
            ready()
            serving.touch()

        serve(told)

    running = begin(serve_second)
    until(lambda: serving.exists() and slow.read_text())
    os.kill(int(slow.read_text()), signal.SIGKILL)
    until(running.serves)
    until(lambda: len(running.workers()) == 2)
    assert running.events("worker.died")[0]["status"] == -signal.SIGKILL


def test_a_worker_whose_end_nobody_tells_is_replaced_and_never_twice(
    begin: Begin, tmp_path: Path
) -> None:
    """Its process has exited, a thread of it has not: as one that waits for a disk that hangs."""
    first = tmp_path / "first"
    first.touch()

    def exit_alone(ready: Callable[[], None]) -> None:
        try:
            first.unlink()
        except FileNotFoundError:
            serve(ready)
        threading.Thread(target=time.sleep, args=(4,)).start()
        ready()
        time.sleep(0.5)
        ctypes.CDLL(None).syscall(SYS_EXIT, 0)  # this thread alone

    running = begin(exit_alone)
    until(lambda: running.events("worker.hung"))
    until(lambda: len(running.workers()) == 2)
    hung = running.events("worker.hung")[0]["pid"]
    until(lambda: not Path(f"/proc/{hung}").exists())
    time.sleep(1.5)
    assert len(running.workers()) == 2
    assert len(running.events("worker.hung")) == 1
    assert running.events("worker.died") == []


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_while_no_process_can_be_made_the_others_go_on(begin: Begin, error: int) -> None:
    running = begin(serve)
    until(running.serves)
    running.limit.write_text(str(error))
    first, second = running.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: running.events("worker.unstarted"))
    time.sleep(2.5)
    assert running.workers() == [second]
    running.limit.unlink()
    assert until(lambda: len(running.workers()) == 2) < RESPAWN_SECONDS_MAX
    until(lambda: running.events("worker.started"))
    assert len(running.events("worker.unstarted")) == 1
    assert len(running.events("worker.started")) == 1
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait()[0] == 0


def test_it_ends_while_no_process_can_be_made(begin: Begin) -> None:
    running = begin(serve)
    until(running.serves)
    running.limit.touch()
    for worker in running.workers():
        os.kill(worker, signal.SIGKILL)
    until(lambda: running.events("worker.unstarted"))
    os.kill(running.pid, signal.SIGTERM)
    status, seconds = running.wait()
    assert (status, seconds < 3) == (0, True)


def test_at_the_start_no_process_is_an_error(begin: Begin) -> None:
    running = begin(serve)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    running.limit.touch()
    assert begin(serve).wait()[0] == 1


def test_workers_that_die_again_and_again_keep_nobody_busy(begin: Begin) -> None:
    running = begin(die_soon)
    time.sleep(6)
    deaths = len(running.events("worker.died"))
    assert 3 <= deaths <= 12
    os.kill(running.pid, signal.SIGTERM)
    status, seconds = running.wait()
    assert (status, seconds < 3) == (0, True)


def test_a_worker_that_fails_says_why(begin: Begin) -> None:
    running = begin(fail)
    assert running.wait()[0] == 1
    assert "a worker of a test" in str(running.events("worker.failed")[0]["exception"])


def test_who_is_only_a_moment_in_ending_is_not_left_behind(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thread of a process goes before the others, also where no disk hangs."""
    monkeypatch.setattr("treescale.server.processes.supervisor._has_exited", lambda _: True)
    running = begin(be_deaf)
    until(lambda: len(running.workers()) == 2)
    workers = running.workers()
    time.sleep(0.3)
    os.kill(running.pid, signal.SIGTERM)
    status, seconds = running.wait()
    assert (status, seconds < 3) == (0, True)
    assert running.events("worker.left_behind") == []
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_who_says_it_twice_means_it(begin: Begin) -> None:
    running = begin(be_deaf)
    until(lambda: len(running.workers()) == 2)
    time.sleep(0.3)
    os.kill(running.pid, signal.SIGTERM)
    os.kill(running.pid, signal.SIGTERM)  # as `timeout` does
    time.sleep(1.2)
    assert len(running.workers()) == 2
    os.kill(running.pid, signal.SIGINT)
    status, seconds = running.wait()
    assert (status, seconds < 3) == (0, True)
    assert running.events("server.hurried")


def test_a_worker_whose_threads_take_a_moment_to_end_is_not_left_behind(begin: Begin) -> None:
    with patch("treescale.server.processes.supervisor._has_exited", lambda _: True):
        running = begin(be_deaf)
    until(lambda: len(running.workers()) == 2)
    time.sleep(0.3)
    workers = running.workers()
    os.kill(running.pid, signal.SIGTERM)
    status, seconds = running.wait()
    assert (status, seconds < 3) == (0, True)
    assert running.events("worker.left_behind") == []
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


class Named:
    """What a process does that writes down who it is, and then does as others."""

    def __init__(self, path: Path, work: Work) -> None:
        self._path = path
        self._work = work

    def __call__(self, ready: Callable[[], None]) -> None:
        with self._path.open("a") as pids:
            pids.write(f"{os.getpid()}\n")
        self._work(ready)

    def pids(self) -> list[int]:
        return [int(pid) for pid in self._path.read_text().split()] if self._path.exists() else []


class TestAnotherKind:
    """One more process beside the workers, for as long as the server runs."""

    def test_it_is_restarted_when_it_dies_and_ends_with_the_server(
        self, begin: Begin, tmp_path: Path
    ) -> None:
        walk = Named(tmp_path / "walk", serve)
        running = begin(serve, Kind("walk", walk))
        until(lambda: running.serves() and len(running.workers()) == 3 and walk.pids())
        first = walk.pids()[0]
        others = set(running.workers()) - {first}
        os.kill(first, signal.SIGKILL)
        until(lambda: len(walk.pids()) == 2)
        until(lambda: len(running.workers()) == 3)
        assert set(running.workers()) == {*others, walk.pids()[1]}
        died = running.events("walk.died")
        assert [(each["pid"], each["status"]) for each in died] == [(first, -signal.SIGKILL)]
        assert running.events("worker.died") == []
        processes = running.workers()
        os.kill(running.pid, signal.SIGTERM)
        status, seconds = running.wait()
        assert (status, seconds < 3) == (0, True)
        assert not any(Path(f"/proc/{pid}").exists() for pid in processes)

    def test_a_worker_that_dies_beside_it_is_replaced_by_a_worker(
        self, begin: Begin, tmp_path: Path
    ) -> None:
        walk = Named(tmp_path / "walk", serve)
        running = begin(serve, Kind("walk", walk))
        until(lambda: running.serves() and len(running.workers()) == 3 and walk.pids())
        victim, _ = sorted(set(running.workers()) - set(walk.pids()))
        os.kill(victim, signal.SIGKILL)
        until(lambda: running.events("worker.died"))
        until(lambda: len(running.workers()) == 3)
        assert len(walk.pids()) == 1
        assert running.events("walk.died") == []

    @pytest.mark.parametrize("work", [crash, fail])
    def test_one_that_never_serves_keeps_no_server_from_starting(
        self, begin: Begin, tmp_path: Path, work: Work
    ) -> None:
        walk = Named(tmp_path / "walk", work)
        running = begin(serve, Kind("walk", walk))
        time.sleep(3)
        assert len(running.workers()) >= 2
        assert 3 <= len(walk.pids()) <= 6, "the pauses grow: 0, 0, 0.5, 1, 2 …"
        assert len(running.events("walk.failed")) == (len(walk.pids()) if work is fail else 0)
        assert running.events("worker.died") == []
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait()[0] == 0

    def test_it_is_started_once_it_is_wanted(self, begin: Begin, tmp_path: Path) -> None:
        walk, wanted = Named(tmp_path / "walk", serve), Flag()
        running = begin(serve, Kind("walk", walk, wanted=wanted.is_set))
        until(lambda: running.serves() and len(running.workers()) == 2)
        time.sleep(1.5)
        assert walk.pids() == []
        wanted.set()
        until(lambda: len(walk.pids()) == 1)
        os.kill(walk.pids()[0], signal.SIGKILL)
        until(lambda: len(walk.pids()) == 2)

    def test_it_is_started_only_when_the_workers_serve(self, begin: Begin, tmp_path: Path) -> None:
        walk = Named(tmp_path / "walk", serve)
        running = begin(hang, Kind("walk", walk))
        until(lambda: len(running.workers()) == 2)
        time.sleep(0.5)
        assert walk.pids() == []
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait()[0] == 0

    def test_one_that_cannot_be_started_yet_is_started_later(
        self, begin: Begin, tmp_path: Path
    ) -> None:
        walk = Named(tmp_path / "walk", serve)
        running = begin(serve, Kind("walk", walk))
        until(lambda: running.serves() and len(running.workers()) == 3 and walk.pids())
        running.limit.touch()
        os.kill(walk.pids()[0], signal.SIGKILL)
        until(lambda: running.events("walk.unstarted"))
        assert running.events("walk.unstarted")[0]["missing"] == 1
        running.limit.unlink()
        until(lambda: running.events("walk.started"))
        assert running.events("worker.unstarted") == []

    def test_each_kind_has_its_own_time_to_end(self, begin: Begin, tmp_path: Path) -> None:
        """The walk is deaf and killed soon; a worker may finish what it is at."""
        walk = Named(tmp_path / "walk", be_deaf)
        finished = tmp_path / "finished"

        def take_time(ready: Callable[[], None]) -> None:
            def stop(*_: object) -> None:
                time.sleep(2)
                finished.touch()
                os._exit(0)

            signal.signal(signal.SIGTERM, stop)
            ready()
            time.sleep(60)

        running = begin(take_time, Kind("walk", walk, end_seconds=0.2))
        until(lambda: running.serves() and len(running.workers()) == 3 and walk.pids())
        time.sleep(0.3)  # until it is deaf
        os.kill(running.pid, signal.SIGTERM)
        assert until(lambda: not Path(f"/proc/{walk.pids()[0]}").exists()) < 1.5
        assert not finished.exists()
        status, seconds = running.wait()
        assert (status, seconds < 3) == (0, True)
        assert finished.exists()

    def test_names_are_not_used_twice(self, listener: socket.socket) -> None:
        with pytest.raises(AssertionError, match="one name"):
            Supervisor([workers(serve), workers(serve)], listener, clock=SystemClock())


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_standard_streams_that_were_closed_are_there(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    """Else the first file that is opened gets the number of standard error, and what it says."""
    pid = os.fork()
    if pid == 0:
        for number in closed:
            os.close(number)
        if 1 in closed:
            sys.stdout = None
        if 2 in closed:
            sys.stderr = None
        ready_process()
        opened = os.open(tmp_path / "database", os.O_WRONLY | os.O_CREAT)
        sys.stdout.write("x")
        sys.stderr.write("x")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if opened > 2 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "database").read_bytes() == b""
