"""The unit of systemd in deploy/, and what the server tells whoever started it as a service."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import images
from tests.functional import confined
from tests.functional.programs import outcome, run, wait_until, workers_of
from tests.functional.server import TREESCALE, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout, sha256_of

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "treescale.service"
EXPOSURE_MAX = 30
"""Tenths: 3.0."""
WATCHDOG_SECONDS = 2.0
BACKUP = UNIT.with_name("treescale-backup.service")
TIMER = UNIT.with_name("treescale-backup.timer")
Serve = Callable[[Options], Server]


class Manager:
    """A service manager that only listens."""

    def __init__(self) -> None:
        self.address = f"@treescale-test-{os.getpid()}-{time.monotonic_ns()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{self.address[1:]}")
        self.heard: list[str] = []

    def listen(self, seconds: float) -> list[str]:
        """Return what is said in so long."""
        before = len(self.heard)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._take()
            time.sleep(0.02)
        return self.heard[before:]

    def has_heard(self, what: str) -> bool:
        """Say whether that was said."""
        self._take()
        return what in self.heard

    def _take(self) -> None:
        try:
            while True:
                self.heard.append(self._socket.recv(100).decode())
        except BlockingIOError:
            return

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    """Return one that listens."""
    manager = Manager()
    yield manager
    manager.close()


def as_service(manager: Manager) -> Options:
    """Return how it starts a server with two workers."""
    variables = (
        ("NOTIFY_SOCKET", manager.address),
        ("WATCHDOG_USEC", str(int(WATCHDOG_SECONDS * 1e6))),
    )
    return Options(workers=2, variables=variables)


def test_the_unit_can_be_enabled_and_leaves_little_open(tmp_path: Path) -> None:
    unit = tmp_path / "etc" / "systemd" / "system" / UNIT.name
    unit.parent.mkdir(parents=True)
    unit.write_text(UNIT.read_text())
    run("systemctl", f"--root={tmp_path}", "enable", UNIT.name)
    assert (unit.parent / "multi-user.target.wants" / UNIT.name).is_symlink()

    words = (
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE_MAX}",
    )
    assert "Overall exposure level" in run(*words, UNIT)
    bare = tmp_path / "bare.service"
    kept = [line for line in UNIT.read_text().splitlines() if not line.startswith("Protect")]
    bare.write_text("\n".join(line for line in kept if not line.startswith(("System", "Cap"))))
    code, _ = outcome(*words, bare)
    assert code != 0, "the control: without these it is refused"

    there = tmp_path / "treescale.service"
    there.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={TREESCALE}", UNIT.read_text()))
    assert run("systemd-analyze", "verify", "--man=no", there) == ""
    there.write_text(there.read_text().replace("WatchdogSec=", "WatchdogSeconds="))
    assert "Unknown key 'WatchdogSeconds'" in run("systemd-analyze", "verify", there)


def test_the_manager_hears_of_the_start_the_life_and_the_end(
    serve: Serve, manager: Manager
) -> None:
    """A worker that dies is not missed; workers that hang are, and so is the supervisor."""
    server = serve(as_service(manager))
    wait_until("it says that it serves", lambda: manager.has_heard("READY=1"))
    server.kill_worker(workers_of(server.program.pid)[0])
    assert manager.listen(WATCHDOG_SECONDS * 1.3).count("WATCHDOG=1") >= 2

    os.kill(server.program.pid, signal.SIGSTOP)
    manager.listen(0.2)  # what was on its way
    assert manager.listen(WATCHDOG_SECONDS * 1.3) == [], "while it is stopped"
    os.kill(server.program.pid, signal.SIGCONT)
    assert "WATCHDOG=1" in manager.listen(WATCHDOG_SECONDS)

    workers = workers_of(server.program.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    wait_until("it is told", lambda: '"watchdog.withheld"' in server.log.read_text())
    manager.listen(0.2)
    assert manager.listen(WATCHDOG_SECONDS * 1.3) == [], "while its workers are"
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert "WATCHDOG=1" in manager.listen(WATCHDOG_SECONDS)

    assert server.stop() == 0
    manager.listen(0.1)
    assert (manager.heard[0], manager.heard[-1]) == ("READY=1", "STOPPING=1")
    assert manager.heard.count("READY=1") == 1


def test_a_server_works_with_what_the_unit_leaves_it(
    serve: Serve, busybox: Image, tmp_path: Path
) -> None:
    """Its filter of system calls, no memory to write and execute, no capability."""
    launcher = (sys.executable, confined.__file__, str(UNIT))
    chown = f"import os; os.chown({str(tmp_path)!r}, 0, 0)"
    _, said = outcome(*launcher, sys.executable, "-c", chown)
    assert "PermissionError" in said, "the control: the filter is there"
    execute = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)"
    _, said = outcome(*launcher, sys.executable, "-c", execute)
    assert "PermissionError" in said

    server = serve(Options(workers=2, tls=True, launcher=(*launcher, str(TREESCALE))))
    for pid in workers_of(server.program.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^Seccomp_filters:\s+[2-9]", status, re.MULTILINE)
    skopeo = Skopeo(server, server.admin_account, tmp_path)
    source = Layout(tmp_path / "source").tagged(busybox, "1")
    skopeo.copy(source, skopeo.at("admin/app:1"))
    skopeo.copy(skopeo.at("admin/app:1"), f"dir:{tmp_path}/back")
    data = images.noise(9_000_000)
    wire = Wire(server, server.admin_account)
    digest = wire.push_blob("admin/big", data)
    assert digest == sha256_of(data)
    assert wire.pull_blob("admin/big", digest) == data
    assert "PermissionError" not in server.log.read_text()
    assert server.stop() == 0


def test_the_timer_can_be_enabled_and_its_service_leaves_little_open(tmp_path: Path) -> None:
    """It catches up on a night that the machine was off, and not all machines begin at once."""
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in (BACKUP, TIMER):
        (units / unit.name).write_text(unit.read_text())
    run("systemctl", f"--root={tmp_path}", "enable", TIMER.name)
    assert (units / "timers.target.wants" / TIMER.name).is_symlink()
    words = ("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}")
    assert "Overall exposure level" in run(*words, BACKUP)
    there = tmp_path / BACKUP.name
    there.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={TREESCALE}", BACKUP.read_text()))
    timer = tmp_path / TIMER.name
    timer.write_text(TIMER.read_text())
    assert run("systemd-analyze", "verify", "--man=no", there, timer) == ""
    timer.write_text(TIMER.read_text().replace("Persistent=", "Persisting="))
    assert "Unknown key 'Persisting'" in run("systemd-analyze", "verify", there, timer)
    assert "Persistent=true" in TIMER.read_text()
    (when,) = re.findall(r"(?m)^OnCalendar=(.*)$", TIMER.read_text())
    assert "Next elapse" in run("systemd-analyze", "calendar", when)


def test_a_backup_works_with_what_its_unit_leaves_it(serve: Serve, tmp_path: Path) -> None:
    """Beside a server, as the unit says it; the database hears of it."""
    server = serve(Options())
    kept = tmp_path / "kept"
    kept.mkdir()
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", BACKUP.read_text())
    line = line.replace("/usr/local/bin/treescale", str(TREESCALE))
    line = line.replace("/var/backups/treescale", str(kept))
    line = line.replace("--config /etc/treescale/treescale.toml", f"--data {server.disks[0]}")
    run(sys.executable, confined.__file__, str(BACKUP), *line.split())
    (made,) = kept.iterdir()
    assert server.status()["backup_bytes"] == made.stat().st_size
