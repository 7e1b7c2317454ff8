"""The house: folders that can be seen at one glance, and no two of them that know each other.

That imports go down only is a contract in pyproject.toml; this looks at folders within the rooms,
too.
"""

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from tests.tables import each_row

SOURCE: Final = Path(__file__).parents[1] / "src" / "treescale"
FILES_MAX: Final = 16
GROWING: Final = SOURCE / "metadata/migrations/versions"
"""One file for each version of the schema, which nobody reads at one glance."""
FOLDERS: Final = sorted({path.parent for path in SOURCE.rglob("*.py")} - {SOURCE, GROWING})


def room(path: Path) -> str:
    """Return the folder's name; a file beside the rooms is a room of its own."""
    folder = path.parent.relative_to(SOURCE)
    return path.stem if folder == Path() else str(folder)


def modules() -> dict[str, Path]:
    """Return every module's file by its dotted name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.Module, known: dict[str, Path]) -> set[Path]:
    """Return the files that a module imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            names |= inner or {node.module}
    return {known[name] for name in names & known.keys()}


def who_knows_whom() -> dict[str, set[str]]:
    """Return for each room which others it imports from."""
    known = modules()
    found: dict[str, set[str]] = defaultdict(set)
    for path in known.values():
        others = imported(ast.parse(path.read_text(encoding="utf-8")), known)
        found[room(path)] |= {room(other) for other in others} - {room(path)}
    return found


@each_row("folder", FOLDERS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_folder_is_seen_at_one_glance(folder: Path) -> None:
    files = sorted(path.name for path in folder.glob("*.py"))
    assert len(files) <= FILES_MAX, f"{len(files)} files: which of them are a folder of their own?"


@pytest.mark.long
def test_no_two_folders_know_each_other() -> None:
    knows = who_knows_whom()
    assert len(knows) > 20
    both = [(a, b) for a in knows for b in knows[a] if a < b and a in knows.get(b, set())]
    assert both == []
