"""Scripts that tried the registry from outside and found faults: each must say `ok` now.

They lie beside the repository of those who build it, not in it; where they are not, there is no
test of them. Each starts a server of its own.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.functional.server import TREESCALE

pytestmark = pytest.mark.early

CASES: Final = Path(__file__).parents[2].parent / "shared" / "cases"
TIMED: Final = {"h10", "h13"}
"""These look at seconds, of a machine that does nothing else."""
WAITING: Final = ("h05", "h21")
"""These do next to nothing but wait, for more than a minute."""
SECONDS_MAX: Final = 150
"""One of them waits for two minutes by itself; a test may take three."""
CLEAN_UP_SECONDS_MAX: Final = 20
NO_TIME: Final = "SetUp: no time left"
"""What a script says that did not come to its end in its own 52 s: the machine was busy."""


def begin(name: str) -> subprocess.Popen[str]:
    """Start a script."""
    script = CASES / f"{name}.py"
    return subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"TREESCALE": shlex.quote(str(TREESCALE))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Return a script's exit status and what it said. One that hangs is told to end."""
    try:
        said, _ = running.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        running.terminate()  # it ends its servers then
        said, _ = running.communicate(timeout=CLEAN_UP_SECONDS_MAX)
        return -1, f"{said}\nstopped after {SECONDS_MAX} s"
    return running.returncode, said


def fault(name: str, running: subprocess.Popen[str]) -> str:
    """Return what a script found, "" when nothing."""
    status, said = outcome(running)
    return "" if status == 0 else f"{name}: {said.strip().rpartition(chr(10))[2]}"


def fault_of(name: str) -> str:
    """Run a script and return what it found. One that had no time to find out has a second try."""
    found = fault(name, begin(name))
    return fault(name, begin(name)) if found.endswith(NO_TIME) else found


@pytest.fixture(scope="module")
def waiting() -> Iterator[Mapping[str, subprocess.Popen[str]]]:
    """Have those that wait do so beside the others."""
    begun = {name: begin(name) for name in WAITING}
    yield begun
    for running in begun.values():
        if running.poll() is None:  # another process of the run has the test of them
            running.terminate()
        running.communicate(timeout=CLEAN_UP_SECONDS_MAX)


if CASES.is_dir():
    names = {path.stem for path in CASES.glob("*.py") if not path.stem.startswith("_")}
    marked = [
        pytest.param(name, marks=pytest.mark.alone) if name in TIMED else name
        for name in sorted(names.difference(WAITING))
    ]

    @pytest.mark.parametrize("name", marked)
    def test_case(name: str, request: pytest.FixtureRequest) -> None:
        if name not in TIMED:
            request.getfixturevalue("waiting")
        assert fault_of(name) == ""

    def test_cases_that_wait(waiting: Mapping[str, subprocess.Popen[str]]) -> None:
        faults = [fault(name, running) for name, running in waiting.items()]
        assert [found for found in faults if found] == []
