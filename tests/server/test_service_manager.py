"""What is said to a service manager, and when nothing is."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes_disk import JumpingClock
from treescale.server.jobs import pulse_job
from treescale.server.processes.service_manager import NEVER, PULSE_SECONDS, ServiceManager

PID = 4711


class Listening:
    """The other end: a socket of the test's own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """Return what was said since the last look."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(100).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    """Return a service manager's socket of each kind."""
    abstract = f"@treescale-test-{os.getpid()}"
    listening = Listening(str(tmp_path / "notify") if request.param == "file" else abstract)
    yield listening
    listening.close()


def environment(address: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000", "PATH": "/bin", **more}


def test_it_is_told_of_the_start_the_life_and_the_end(listening: Listening) -> None:
    clock = JumpingClock()
    variables = environment(listening.address, WATCHDOG_PID=str(PID))
    manager = ServiceManager.of(variables, PID, clock=clock)
    assert variables == {"PATH": "/bin"}, "no process that is started later is told"
    assert manager.look() == NEVER
    manager.ready()
    assert listening.heard() == ["READY=1"]
    assert manager.look() == 10.0
    clock.seconds += 9.0
    manager.pulse.beat(clock.monotonic())
    assert (manager.look(), listening.heard()) == (1.0, [])
    clock.seconds += 1.0
    assert (manager.look(), listening.heard()) == (10.0, ["WATCHDOG=1"])
    manager.stopping()
    clock.seconds += 100.0
    assert manager.look() == NEVER
    assert listening.heard() == ["STOPPING=1"]


def test_a_watchdog_is_fed_while_some_worker_comes_round_and_no_longer(
    listening: Listening,
) -> None:
    clock = JumpingClock()
    manager = ServiceManager.of(environment(listening.address), PID, clock=clock)
    manager.pulse.beat(clock.monotonic())
    manager.ready()
    listening.heard()
    clock.seconds += 10.0
    manager.look()
    assert listening.heard() == ["WATCHDOG=1"], "a beat of ten seconds ago is one"
    with capture_logs() as logs:
        for _ in range(3):
            clock.seconds += 10.5
            assert manager.look() == PULSE_SECONDS
        assert listening.heard() == []
        manager.pulse.beat(clock.monotonic())
        assert manager.look() == 10.0
    assert listening.heard() == ["WATCHDOG=1"]
    assert [line["event"] for line in logs] == ["watchdog.withheld", "watchdog.fed"]


@pytest.mark.parametrize(
    "more", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}]
)
def test_a_watchdog_that_is_none_or_another_s_is_not_fed(
    listening: Listening, more: dict[str, str]
) -> None:
    manager = ServiceManager.of(environment(listening.address, **more), PID, clock=JumpingClock())
    manager.ready()
    assert manager.look() == NEVER
    assert listening.heard() == ["READY=1"]


def test_without_an_address_nobody_is_told() -> None:
    manager = ServiceManager.of({"WATCHDOG_USEC": "20000000"}, PID, clock=JumpingClock())
    manager.ready()
    assert manager.look() == NEVER
    manager.stopping()


def test_who_cannot_be_told_ends_nothing_and_is_said_once(tmp_path: Path) -> None:
    clock = JumpingClock()
    with capture_logs() as logs:
        manager = ServiceManager.of(environment(str(tmp_path / "gone")), PID, clock=clock)
        manager.ready()
        manager.stopping()
        vsock = ServiceManager.of(environment("vsock:2:1234"), PID, clock=clock)
        vsock.ready()
        assert vsock.look() == NEVER
    assert [line["event"] for line in logs] == ["notify.unheard", "notify.unsupported"]


def test_a_full_table_of_open_files_ends_nothing(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socket", full)
    manager = ServiceManager.of(environment(listening.address), PID, clock=JumpingClock())
    with capture_logs() as logs:
        manager.ready()
        manager.stopping()
    assert [line["event"] for line in logs] == ["notify.unheard"]


def test_who_does_not_read_keeps_the_supervisor_for_a_second_at_most(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.server.processes.service_manager.SEND_SECONDS_MAX", 0.01)
    manager = ServiceManager.of(environment(listening.address), PID, clock=JumpingClock())
    with capture_logs() as logs:
        for _ in range(5000):
            manager.ready()
            if logs:
                break
    assert [line["event"] for line in logs] == ["notify.unheard"]


async def test_a_worker_lets_the_pulse_beat() -> None:
    clock, manager = JumpingClock(), ServiceManager("", 0.0, clock=JumpingClock())
    assert manager.pulse.age(clock.monotonic()) > 1000, "nobody has yet"
    job = pulse_job(manager.pulse, clock)
    await job.work()
    assert manager.pulse.age(clock.monotonic() + 2.0) == 2.0
    assert job.period_seconds == PULSE_SECONDS
