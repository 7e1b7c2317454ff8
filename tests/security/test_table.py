"""docs/security.md and docs/console.md name tests: they exist, and no attack is missing."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NUMBERS: Final = (
    *(1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 28, 29),
    *(43, 44, 45, 46, 47, 48, 49, 51),
)
CONSOLE: Final = (ROOT / "docs/console.md").read_text(encoding="utf-8")
OF_CONSOLE_MIN: Final = 18


def rows(page: str, letter: str) -> dict[str, str]:
    """Return the rows of a page's table of attacks, by their names."""
    return dict(re.findall(rf"^\| ({letter}[0-9]{{2}}) \|(.*)\|$", page, re.MULTILINE))


ROWS: Final = rows(PAGE, "S")
ROWS_OF_CONSOLE: Final = rows(CONSOLE, "W")


def exists(test: str) -> bool:
    """Say whether `file::[class::]function` is a test of the project."""
    name, _, rest = test.partition("::")
    path = ROOT / name
    if not path.is_file():
        return False
    return rest.rpartition("::")[2] in functions(path)


@cache
def functions(path: Path) -> set[str]:
    """Return the names of the functions in a file, and in its classes."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_attack_of_the_list_has_a_row() -> None:
    assert sorted(ROWS) == [f"S{number:02}" for number in NUMBERS]
    assert len(ROWS_OF_CONSOLE) >= OF_CONSOLE_MIN


def test_every_row_names_tests_that_exist() -> None:
    for number, row in (ROWS | ROWS_OF_CONSOLE).items():
        tests = re.findall(r"`(tests/[^`]+)`", row)
        assert tests, f"{number} names no test"
        assert [test for test in tests if not exists(test)] == [], number


def test_a_test_that_is_not_there_is_seen() -> None:
    assert exists("tests/security/test_table.py::test_a_test_that_is_not_there_is_seen")
    assert not exists("tests/security/test_table.py::test_nothing")
    assert not exists("tests/security/absent.py::test_nothing")
