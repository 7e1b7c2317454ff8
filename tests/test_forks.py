"""Tests in forks come out as they do in one process: `forks.py`."""

import os
import re
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from tests.forks import Group, choice
from tests.tables import each_row

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.long  # starts interpreters

TESTS = """
import gc, os, pytest

@pytest.fixture(scope="module")
def kept():
    kept = []
    yield kept
    assert "seven" not in kept, "told at the end of its file"

@pytest.mark.parametrize("number", range(70))
def test_each(kept, number, tmp_path):
    (tmp_path / "file").write_text(str(number))
    assert number != 5
    print("said", number)
    kept.append("seven" if number == 69 and "other" in __file__ else number)

@pytest.mark.skip
def test_skipped(): ...

@pytest.mark.xfail
def test_not_yet(): assert 0

def test_output():
    print("what it said")
    os.write(2, b"what a program said")
    raise ValueError("here")
"""
ENDS = """
import os
def test_before(): ...
def test_ends(): os._exit(0)
"""
KEPT = """
import os, pathlib, pytest

@pytest.fixture(scope="session")
def kept():
    told = pathlib.Path(os.environ["TMPDIR"])
    told.joinpath(f"begun{os.getpid()}").touch()
    yield
    told.joinpath(f"ended{os.getpid()}").touch()
    assert HOW != "ends badly", "it ended as it should not"

@pytest.mark.parametrize("number", range(300))
def test_each(kept, number):
    assert HOW != "fails" or number != 7
"""
LEAVES = """
class Left:
    def __del__(self): raise ValueError("left")
def test_leaves():
    left = Left()
    left.itself = left
"""


CLUSTER: frozenset[str] = frozenset({"cluster"})
NOTHING: frozenset[str] = frozenset()
PLAIN, PLAIN_EARLY = (Group((), early=early, needs=NOTHING) for early in (False, True))
USING, USING_EARLY = (Group((), early=early, needs=CLUSTER) for early in (False, True))


def run(directory: Path, *flags: str) -> tuple[int, str]:
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", os.devnull, *flags]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.forks", *words, directory],
        env=os.environ | {"PYTHONPATH": f"{ROOT}", "TMPDIR": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_they_pass_and_fail_and_say_the_same(tmp_path: Path) -> None:
    for name in ("test_one.py", "test_other.py", "test_third.py"):
        (tmp_path / name).write_text(TESTS)
    status, alone = run(tmp_path, "-rA")
    forked_status, forked = run(tmp_path, "-rA", "--forks", "3")
    assert status == forked_status == 1
    summary = re.compile(
        r"^(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL) .*$|^.* in [0-9.]+s", re.MULTILINE
    )
    told = [
        sorted(re.sub(r" in [0-9.]+s", "", line) for line in summary.findall(text))
        for text in (alone, forked)
    ]
    assert told[0] == told[1]
    assert "207 passed" in forked
    for words in ("what it said", "what a program said", "ValueError: here"):
        assert forked.count(words) == alone.count(words) > 0


@each_row(
    ("todo", "here", "elsewhere", "taken"),
    [
        ([PLAIN, USING], NOTHING, NOTHING, 0),
        ([PLAIN, USING, PLAIN_EARLY], NOTHING, NOTHING, 2),
        ([PLAIN, USING], CLUSTER, NOTHING, 1),
        ([PLAIN, USING, PLAIN_EARLY], CLUSTER, NOTHING, 2),
        ([USING_EARLY, USING, PLAIN], NOTHING, CLUSTER, 2),
        ([USING, USING_EARLY], NOTHING, CLUSTER, 1),
        ([PLAIN, USING], CLUSTER, CLUSTER, 1),
    ],
)
def test_a_process_takes_what_needs_nothing_that_runs_elsewhere(
    todo: list[Group], here: AbstractSet[str], elsewhere: AbstractSet[str], taken: int
) -> None:
    assert choice(dict(enumerate(todo)), here, elsewhere) == taken


@pytest.mark.parametrize(
    ("how", "flags", "status", "said"),
    [
        ("passes", (), 0, "600 passed"),
        ("fails", ("--exitfirst",), 1, "stopping after 1 failures"),
        ("ends badly", (), 3, "it ended as it should not"),
    ],
)
def test_what_lasts_for_the_session_ends_in_each_process(
    tmp_path: Path, how: str, flags: tuple[str, ...], status: int, said: str
) -> None:
    (tmp_path / "test_one.py").write_text(f"HOW = '{how}'\n{KEPT}")
    (tmp_path / "test_other.py").write_text(f"HOW = 'ends well'\n{KEPT}")
    result, text = run(tmp_path, "--forks", "2", *flags)
    begun, ended = (sorted(tmp_path.glob(f"{what}*")) for what in ("begun", "ended"))
    assert len(begun) == len(ended) >= 1
    assert (result, said in text) == (status, True), text


def test_a_process_that_ends_is_told_and_so_is_what_it_left(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(ENDS)
    status, said = run(tmp_path, "--forks", "2")
    assert status == 3
    assert "a process ended in test_it.py::test_ends" in said
    file.write_text(LEAVES)
    status, said = run(tmp_path, "--forks", "2")
    assert status != 0
    assert "left" in said
