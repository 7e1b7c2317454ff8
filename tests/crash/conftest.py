"""What the crash tests share: mounts and nurseries that end with their test, and the counts."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.crash.nursery import Home, Nursery
from tests.crash.places import MIB, Mounts, make_ext4
from tests.crash.rig import RESERVE, Rig
from tests.figures import add_logs, mark_functional, write_lines
from tests.functional.programs import workers_of
from tests.functional.server import Options, Server
from tests.functional.wire import Wire

HERE = Path(__file__).parent
COUNTED = "counted"
Counted = Callable[[str], None]


class Start(Protocol):
    """Starts a server on a data directory (or more) and a database, with an image there."""

    def __call__(self, data: Path, database: Path, *, disks: int = 1) -> Rig: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory `functional`: it mounts, and needs root."""
    mark_functional(items, HERE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of every running program's log with a failed test."""
    report = yield
    add_logs(report, item, HERE)
    return report


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """Return what publishes a count at the end of the run; docs/reliability.md quotes them."""
    return lambda line: record_property(COUNTED, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts; they come from every process of the run."""
    write_lines(terminalreporter, COUNTED, "crash counts")


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    """Return file systems of the test's own."""
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.unmount_all()


@pytest.fixture
def nursery(tmp_path: Path, mounts: Mounts) -> Iterator[Nursery]:
    """Return workers of the test's own; they end before what they lie on is unmounted."""
    del mounts
    nursery = Nursery(tmp_path / "workers.log")
    yield nursery
    nursery.close()


@pytest.fixture
def start(tmp_path: Path, mounts: Mounts) -> Iterator[Start]:
    """Return what starts a server on a data directory and a database, with one image there."""
    del mounts
    started: list[Server] = []

    def start(data: Path, database: Path, *, disks: int = 1) -> Rig:
        home = Home(data, database / "treescale.db")
        server = Server(tmp_path / "home", Options(workers=2, disks=disks, database=home.url))
        started.append(server)
        server.start()
        wire = Wire(server, server.admin_account)
        rig = Rig(server, wire, home, workers_of(server.program.pid))
        for _ in range(3):
            rig.push()
        return rig

    yield start
    for server in started:
        server.crash()


@pytest.fixture
def data(tmp_path: Path, mounts: Mounts) -> Path:
    """Return the server's data directory: an ext4 with room for 256 MiB above the reserve."""
    image = make_ext4(mounts.memory("memory", 1024 * MIB) / "disk.img", 2 * RESERVE + 64 * MIB)
    return mounts.ext4(image, str(tmp_path / "home" / "disk0"), "commit=5")
