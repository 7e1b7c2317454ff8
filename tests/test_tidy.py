"""What no linter says of this tree: short files, short functions, every file introduced.

The limits are those of docs/hacking.md. A file or function over its limit is one that does two
things; give the second a name and a place of its own.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tables import each_row

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for room in ("src", "tests", "bench") for p in (ROOT / room).rglob("*.py"))
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """Yield name, line and length of each function; decorators do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def complaints(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield (
            f"{by_name(path)} has {lines} lines; over {FILE_LINES_MAX} a reader loses the thread. "
            "Move one of its subjects into a file of its own."
        )
    if not ast.get_docstring(tree):
        yield (
            f"{by_name(path)} does not say what it is for. Open it with a docstring of one to five "
            "sentences: its purpose, the invariant it keeps, what it does not do."
        )
    over = [x for x in functions(tree) if x[2] > FUNCTION_LINES_MAX]
    long = [f"{name} (line {line}: {length} lines)" for name, line, length in over]
    if long:
        yield (
            f"{by_name(path)}: {', '.join(long)}; a function over {FUNCTION_LINES_MAX} lines "
            "decides and acts at once. Take the decision out as a pure function, or name the steps."
        )


@pytest.mark.long
def test_each_file_is_short_and_introduced() -> None:
    found = [complaint for path in SOURCES for complaint in complaints(path)]
    assert not found, "\n".join(found)


def test_a_long_file_a_long_function_and_no_introduction_are_complained_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_tidy.ROOT", tmp_path)
    file = tmp_path / "long.py"
    file.write_text("def f():\n" + "    pass\n" * FILE_LINES_MAX)
    assert [text.split(" ", 2)[1] for text in complaints(file)] == ["has", "does", "f"]


def test_the_limits_see_what_they_limit() -> None:
    tree = ast.parse("class A:\n    async def b(self):\n        pass\n\n\ndef c():\n    pass\n")
    assert sorted(functions(tree)) == [("b", 2, 2), ("c", 6, 2)]
    assert len(SOURCES) > 20


def requirement_names() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    texts = {text for group in groups for text in group if isinstance(text, str)}
    return sorted(re.split(r"[\[<>=~!; ]", text)[0] for text in texts)


@each_row("name", requirement_names())
def test_each_dependency_has_its_reason(name: str) -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert f"**{name}**" in page, (
        f"docs/dependencies.md does not say what {name} is for and why it was chosen"
    )


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=by_name)
def test_locks_pin_with_hashes_and_name_no_index(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    pins = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert pins
    unpinned = [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin]
    assert not unpinned, f"{by_name(lock)} pins no version and hash of {unpinned}: make lock"
    assert "index-url" not in text
    assert "://" not in text
