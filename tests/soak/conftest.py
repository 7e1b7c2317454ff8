"""The figures of a soak, printed at the end of the run."""

from collections.abc import Callable

import pytest

from tests.figures import write_lines
from tests.postgres import postgres

__all__ = ["postgres"]  # a fixture

Figures = Callable[[str], None]
SOAK = "soak"
COLUMNS = (
    "soak | lasted | events | pushes / mounts / pulls | deleted / restored | cycles that took rows "
    "/ copies | pushed, MiB | freed, MiB of all copies | left / referenced, MiB of all copies | "
    "all had ended after | refused / cut | broken pushes | unreadable | read from the trash"
)
EVENTS = "soak of events"
EVENT_COLUMNS = (
    "soak | lasted | killed, or away | pushes, or requests | events | followers | "
    "delay: median / p99 / longest"
)


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """Return what publishes a line of figures, of a soak that failed as well."""
    return lambda line: record_property(SOAK, line)


@pytest.fixture
def event_figures(record_property: Callable[[str, object], None]) -> Figures:
    """Return what publishes a line of the soak of events."""
    return lambda line: record_property(EVENTS, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines; they come from every process of the run."""
    write_lines(terminalreporter, SOAK, "soaks, measured", COLUMNS)
    write_lines(terminalreporter, EVENTS, "the event log, measured", EVENT_COLUMNS)
