"""docs/reliability.md names tests: they exist, and none of the tests of faults is left out."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED: Final = set(re.findall(r"`(tests/[^`]+::[^`]+)`", PAGE))
OWN: Final = {ROOT / "tests/functional/cluster/test_history.py"}
"""Tests of what the tests judge by."""


@cache
def named_in(path: Path) -> set[str]:
    """Return the tests in a file, as pytest calls them."""
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_the_tests_it_names_exist() -> None:
    assert NAMED
    for name in NAMED:
        path = ROOT / name.partition("::")[0]
        assert path.is_file(), name
        assert name in named_in(path)


@pytest.mark.parametrize("directory", ["tests/crash", "tests/functional/cluster"])
def test_every_test_of_a_fault_is_named(directory: str) -> None:
    files = sorted({*(ROOT / directory).glob("test_*.py")} - OWN)
    assert files
    assert set().union(*map(named_in, files)) - NAMED == set()
