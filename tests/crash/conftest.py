"""What the crash tests share: mounts and nurseries that end with their test, and the counts."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.crash.nursery import Nursery
from tests.crash.places import Mounts
from tests.functional.programs import Program

COUNTED = "counted"
Counted = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory `functional`: it mounts, and needs root."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("functional")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of every running program's log with a failed test."""
    report = yield
    if report.failed and Path(__file__).parent in item.path.parents:
        for program in Program.running:
            report.sections.append((f"log of {program.argv[0]}", program.log_end()))
    return report


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """Return what publishes a count at the end of the run; docs/reliability.md quotes them."""
    return lambda line: record_property(COUNTED, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts; they come from every process of the run."""
    lines = [
        str(line)
        for report in terminalreporter.getreports("passed")
        for key, line in report.user_properties
        if key == COUNTED
    ]
    if lines:
        terminalreporter.section("crash counts")
        for line in sorted(lines):
            terminalreporter.write_line(line)


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
