"""What tests publish at the end of a run, and what is shown of a functional one that failed."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.functional.programs import Program


def mark_functional(items: Iterable[pytest.Item], folder: Path) -> None:
    """Mark every test of this folder `functional`."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker("functional")


def add_logs(report: pytest.TestReport, item: pytest.Item, folder: Path) -> None:
    """Show the end of every running program's log with a test of this folder that failed."""
    if report.failed and folder in item.path.parents:
        for program in Program.running:
            report.sections.append((f"log of {program.argv[0]}", program.log_end()))


def write_lines(reporter: pytest.TerminalReporter, key: str, title: str, *heads: str) -> None:
    """Write what was published under this key, below these heads; it comes from every process.

    Of tests that have failed as well.
    """
    lines = [
        str(line)
        for outcome in ("passed", "failed")
        for report in reporter.getreports(outcome)
        if report.when == "call"
        for name, line in report.user_properties
        if name == key
    ]
    if lines:
        reporter.section(title)
        for line in (*heads, *sorted(lines)):
            reporter.write_line(line)
