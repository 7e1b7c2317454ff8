"""Keeping the processes of a server alive: start them, restart the ones that die, end them all.

Processes are of named kinds: a number of equal workers, and beside them whatever else runs for as
long as the server does. Each is a fork of the supervisor, which has imported everything and has
neither threads nor an event loop: it starts at once, and shares the memory of what is the same in
all. It says when it serves. It asks the kernel to be killed when its supervisor goes
(PR_SET_PDEATHSIG), so no process outlives it and holds the port.

Signals are blocked and taken one by one, so none is lost between two looks, and none comes in the
middle of anything: SIGTERM and SIGINT are heard while processes start, while a dead one waits for
its turn, and while no process can be made.
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.log import close_log, get_logger
from treescale.server.processes.backoff import Backoff
from treescale.server.processes.process import Stopped, be_called, die_with_parent
from treescale.server.processes.service_manager import NEVER, ServiceManager


class Closes(Protocol):
    """Sockets that connections come from."""

    def close(self) -> None:
        """Hold them no more."""
        ...


Work = Callable[[Callable[[], None]], None]
"""What a process does until a signal ends it; it is given what to call once it serves."""

DRAIN_SECONDS: Final = 60.0
"""How long requests in flight may take after SIGTERM."""
END_SECONDS: Final = 5.0
"""How long a process may take to end once nothing is in flight any more."""
KILL_SECONDS: Final = 2.0
"""How long one may take that was killed. The kernel ends no thread that waits for a disk."""
REAP_SECONDS: Final = 0.5
"""How long the threads of one that has exited may take to be gone: more only if a disk hangs."""
HUNG_LOOK_SECONDS: Final = 1.0
"""How often it is looked whether one has exited but for threads that wait for a disk."""
REAP_LOOK_SECONDS: Final = 0.05
"""How often that is looked at: nobody says that only the last threads are left."""
INSIST_SECONDS: Final = 1.0
"""A second signal so long after the first means: now. Some programs send one twice at once."""
END_LOOK_SECONDS: Final = 0.5
"""How often the end looks at processes that say nothing."""
START_LOOK_SECONDS: Final = 0.02
"""How often the start looks whether a process serves, and for signals."""
_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_WATCHED: Final = _STOPS | {signal.SIGCHLD}
_HEARD: Final = _WATCHED | {signal.SIGHUP}
"""While it runs; at its end nobody has anything to look at anew."""


class ProcessFailed(Failed):
    """A process without which the server cannot start ended before it served."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Equal processes of a server: what they are called, what they do, how many there are.

    What several of them share is made before the supervisor starts, and given to `work`. The log
    events about them begin with the name: `worker.died`, and `.hung`, `.unstarted`, `.started`,
    `.failed`, `.left_behind`.
    """

    name: str
    work: Work
    count: int = 1
    needed: bool = False
    """Whether the server serves only once these do. Those that are not needed are started after
    them and waited for by nobody; one that dies at once is started again like any other."""
    wanted: Callable[[], bool] = lambda: True
    """Whether those that are not needed are to be started yet; looked at every second."""
    end_seconds: float = END_SECONDS
    """How long one may take from SIGTERM to its end; after that it is killed."""
    hung: Callable[[], None] = lambda: None
    """Hears of each that is dead and still holds what the kernel lent it."""


@dataclass(slots=True)
class _Process:
    """A process that was started, and where it says that it serves."""

    kind: Kind
    said: int
    serves: bool = False
    ended: bool = False
    """Whether it hung up before it served."""
    exited: float | None = None
    """When it was first seen to have exited and not to be gone."""
    replaced: bool = False
    """Whether another has its place: it has exited, and threads of it hang in the kernel."""

    def look(self) -> None:
        """Take notice of what it says: that it serves, or nothing any more."""
        if not (self.serves or self.ended):
            with suppress(BlockingIOError):  # it has said nothing yet
                self.serves = os.read(self.said, 1) != b""
                self.ended = not self.serves


@dataclass(slots=True)
class _Crew:
    """Which processes of a kind are missing."""

    kind: Kind
    backoff: Backoff
    due: list[float] = field(default_factory=list)
    """When to start each that is missing."""

    @property
    def is_wanted(self) -> bool:
        """Say whether they are to be started."""
        return self.kind.needed or self.kind.wanted()


class Supervisor:
    """The processes of a server, on the same listening sockets; `hung_up` hears of SIGHUP."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        listeners: Closes,
        *,
        clock: Clock,
        manager: ServiceManager | None = None,
        hung_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._hung_up = hung_up
        self._listeners = listeners
        self._clock = clock
        self._manager = manager
        self._crews = {kind.name: _Crew(kind, Backoff(kind.count)) for kind in kinds}
        assert len(self._crews) == len(kinds), "two kinds of process have one name"
        self._processes: dict[int, _Process] = {}
        self._log = get_logger()
        self.left_behind = False
        """Whether one could not be ended: it waits in the kernel, for a disk that hangs."""

    def start(self) -> None:
        """Start all processes and return when every one that is needed serves.

        The service manager is told then. Raises ProcessFailed, and Stopped when a signal says so;
        then none is left.
        """
        # SIGHUP is ignored in all processes of a server; where it is blocked it is heard.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        # What exists now is never collected: looking at it would only unshare its memory.
        gc.collect()
        gc.freeze()
        try:
            for crew in self._crews.values():
                for _ in range(crew.kind.count if crew.kind.needed else 0):
                    self._spawn(crew.kind)
            self._wait_for_all()
        except OSError as error:
            self._end(signal.SIGKILL)
            raise ProcessFailed(f"no process can be started: {error.strerror}") from error
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        now = self._clock.monotonic()
        for crew in self._crews.values():
            crew.due = [] if crew.kind.needed else [now] * crew.kind.count
            self._start_due(crew)
        if self._manager is not None:
            self._manager.ready()

    def _wait_for_all(self) -> None:
        while not self._all_begun():
            if signal.sigtimedwait(_STOPS, START_LOOK_SECONDS) is not None:
                raise Stopped(0)

    def _all_begun(self) -> bool:
        """Say whether each serves, or has ended; raises ProcessFailed when none of a kind serves.

        Where one serves, another's end has no reason that a start would not get over: `run`
        replaces it.
        """
        processes = self._processes.values()
        for process in processes:
            process.look()
        serving = {process.kind.name for process in processes if process.serves}
        for process in processes:
            if process.ended and process.kind.name not in serving:
                raise ProcessFailed(f"a {process.kind.name} ended before it served; see above")
        return all(process.serves or process.ended for process in processes)

    def run(self) -> None:
        """Restart processes that die until a signal says stop; return when all have ended."""
        while True:
            now = self._clock.monotonic()
            dues = (due for crew in self._crews.values() for due in crew.due if crew.is_wanted)
            due = max(0.0, min(dues, default=NEVER) - now)
            told = NEVER if self._manager is None else self._manager.look()
            received = signal.sigtimedwait(_HEARD, min(HUNG_LOOK_SECONDS, due, told))
            if received is not None and received.si_signo == signal.SIGHUP:
                self._hung_up()
            if received is not None and received.si_signo in _STOPS:
                self._log.info("server.stopping", signal=signal.Signals(received.si_signo).name)
                if self._manager is not None:
                    self._manager.stopping()
                # The last one to hold them: a new connection is refused then, not left waiting.
                self._listeners.close()
                self._end(signal.SIGTERM)
                return
            for kind, pid, status in self._buried():
                self._log.error(f"{kind.name}.died", pid=pid, status=status)
                self._replace(kind, now)
            for kind, pid in self._newly_hung():
                self._log.error(f"{kind.name}.hung", pid=pid)
                self._replace(kind, now)
                kind.hung()
            for crew in self._crews.values():
                self._start_due(crew)

    def _replace(self, kind: Kind, now: float) -> None:
        """Have another started in the place of one that died."""
        crew = self._crews[kind.name]
        crew.due.append(now + crew.backoff.died(now))

    def _start_due(self, crew: _Crew) -> None:
        """Start those whose time has come; when that cannot be, set another time for all."""
        if not crew.is_wanted:
            return
        now, name = self._clock.monotonic(), crew.kind.name
        for due in sorted(each for each in crew.due if each <= now):
            try:
                self._spawn(crew.kind)
            except OSError as error:
                attempts, pause = crew.backoff.unstarted()
                if attempts == 1:
                    missing = len(crew.due)
                    self._log.error(f"{name}.unstarted", error=error.strerror, missing=missing)
                crew.due = [now + pause for _ in crew.due]
                return
            crew.due.remove(due)
            failed = crew.backoff.started()
            if failed:
                self._log.info(f"{name}.started", attempts=failed + 1)

    def _spawn(self, kind: Kind) -> None:
        """Start a process of this kind; raises OSError when none can be made."""
        said, say = os.pipe()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(said)
            os.close(say)
            raise
        if pid == 0:
            os.close(said)
            _be(kind, say, parent)
        os.close(say)
        os.set_blocking(said, False)
        self._processes[pid] = _Process(kind, said)

    def _buried(self) -> list[tuple[Kind, int, int]]:
        """Take notice of the processes that have ended; return them with their status.

        But for those that have been replaced.
        """
        found = []
        for pid, process in list(self._processes.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                os.close(process.said)
                del self._processes[pid]
                if not process.replaced:
                    found.append((process.kind, pid, os.waitstatus_to_exitcode(status)))
        return found

    def _newly_hung(self) -> Iterator[tuple[Kind, int]]:
        """Yield the processes that exited and whose threads are not gone after a while.

        The kernel ends no thread that waits for a disk, and tells nobody of the process before all
        are gone: what it served with is dead, and would be missed for as long as the disk hangs.
        """
        now = self._clock.monotonic()
        for pid, process in self._processes.items():
            if process.replaced or not _has_exited(pid):
                continue
            process.exited = now if process.exited is None else process.exited
            if now - process.exited >= REAP_SECONDS:
                process.replaced = True
                yield process.kind, pid

    def _end(self, how: signal.Signals) -> None:
        """End the processes: each within its kind's time, or until a signal comes again.

        All are told at once, since none needs another for its end; then whoever is left is killed.
        """
        self._tell(how)
        began = now = self._clock.monotonic()
        while how is not signal.SIGKILL and (left := self._left_seconds(now - began)) > 0:
            received = signal.sigtimedwait(_WATCHED, min(left, END_LOOK_SECONDS))
            now = self._clock.monotonic()
            again = received is not None and received.si_signo in _STOPS
            if again and now - began >= INSIST_SECONDS:
                self._log.warning("server.hurried", workers=len(self._processes))
                break
            self._tell(signal.SIGKILL, over=now - began)
        self._tell(signal.SIGKILL)
        began = now = self._clock.monotonic()
        while self._is_waited_for(now - began):
            signal.sigtimedwait({signal.SIGCHLD}, REAP_LOOK_SECONDS)
            now = self._clock.monotonic()
        for pid, process in self._processes.items():
            self._log.error(f"{process.kind.name}.left_behind", pid=pid)
            self.left_behind = True

    def _left_seconds(self, passed: float) -> float:
        """Take notice of who has ended; return how long to wait for others, at most.

        One that has ended but for threads that wait for a disk that hangs is not waited for: it
        ends when the disk answers, and says nothing to anybody until then.
        """
        self._buried()
        going_on = (each.kind for pid, each in self._processes.items() if not _has_exited(pid))
        return max((kind.end_seconds - passed for kind in going_on), default=0.0)

    def _is_waited_for(self, passed: float) -> bool:
        """Take notice of who has ended; say whether to wait for others, so long after the kill.

        Whoever is killed is a moment long as one whose threads wait for a disk.
        """
        self._buried()
        if any(not _has_exited(pid) for pid in self._processes):
            return passed < KILL_SECONDS
        return bool(self._processes) and passed < REAP_SECONDS

    def _tell(self, what: signal.Signals, *, over: float | None = None) -> None:
        """Send a signal to all, or to those whose time to end was shorter than `over`."""
        for pid, process in self._processes.items():
            if over is None or process.kind.end_seconds < over:
                os.kill(pid, what)


def _has_exited(pid: int) -> bool:
    """Say whether a process that is not to be buried yet has ended but for some threads."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]


def _be(kind: Kind, say: int, parent: int) -> None:
    """Be a process of this kind, and end with it: nothing of the supervisor's is to run in it."""
    status = 1
    try:
        for number in _WATCHED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        die_with_parent(parent)
        be_called(kind.name)
        kind.work(lambda: _say(say))
        status = 0
    except Exception as error:  # noqa: BLE001  it is told here, and ends only this process
        get_logger().error(f"{kind.name}.failed", exc_info=error)
    finally:
        close_log()
        os._exit(status)


def _say(say: int) -> None:
    """Tell the supervisor that this process serves."""
    os.write(say, b"+")
