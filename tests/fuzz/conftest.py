"""What the fuzzers run against, and the report at the end of a run."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.fuzz.budget import REPORT, Tally
from tests.fuzz.rig import make_home

NewTally = Callable[[str], Tally]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the database that every run begins with."""
    path = tmp_path_factory.mktemp("fuzz")
    asyncio.run(make_home(path))
    return path


@pytest.fixture(autouse=True)
def unread_log() -> Iterator[None]:
    """Write the log as always, but nowhere: an hour's lines would fill the memory."""
    before = structlog.get_config()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(nowhere))
        yield
        structlog.configure(**before)


@pytest.fixture
def new_tally(record_property: Callable[[str, object], None]) -> Iterator[NewTally]:
    """Return what makes a fuzzer's tally, reported whether it fails or not."""
    made: list[Tally] = []

    def make(name: str) -> Tally:
        made.append(Tally(name))
        return made[-1]

    yield make
    for tally in made:
        record_property(REPORT, str(tally))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each fuzzer did; the lines come from every process of the run."""
    lines = [
        str(line)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, line in report.user_properties
        if name == REPORT
    ]
    if lines:
        terminalreporter.section("fuzzers")
        for line in lines:
            terminalreporter.line(line)
