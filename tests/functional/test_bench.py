"""Parts of the benchmark of one server, with next to nothing to do, beside docker-registry.

What it finds is worth nothing here; that it runs, and gives every row a figure of both, is.
"""

from pathlib import Path
from typing import Final

import pytest

from bench.__main__ import PARTS
from bench.processes import pss_mb, tree
from bench.registries import DOCKER_REGISTRY
from bench.rows import Effort
from bench.work import memory

pytestmark = pytest.mark.functional

SMALL: Final = Effort(1, 2_000_000, scale=0.02, large_bytes=4_000_000, beside=(DOCKER_REGISTRY,))
ROWS: Final = {"push": 8, "memory": 2, "large": 1}


@pytest.mark.parametrize("part", ROWS)
def test_a_part_measures_both(part: str, tmp_path: Path) -> None:
    rows = PARTS[part](tmp_path, SMALL)
    assert len(rows) == ROWS[part]
    for row in rows:
        assert row.against.startswith(DOCKER_REGISTRY)
        assert all(figure >= 0 for figure in [*row.ours, *row.other]), row
        assert len(row.ours) == len(row.other) == 1


def test_all_processes_of_ours_are_in_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk as well, though a server that is alone begins it after ten minutes."""
    found: list[set[str]] = []

    def looked(pid: int) -> float:
        found.append({Path(f"/proc/{each}/comm").read_text().strip() for each in tree(pid)})
        return pss_mb(pid)

    monkeypatch.setattr(memory, "pss_mb", looked)
    memory.measure(tmp_path, SMALL)
    assert {"ts-worker", "ts-walk"} <= found[0]


@pytest.mark.timeout(600)  # nine starts
def test_starts_and_the_first_pull_measure_both(tmp_path: Path) -> None:
    rows = PARTS["start"](tmp_path, SMALL)
    assert [len(row.peers) for row in rows] == [1, 0, 1]  # ours alone has many blobs
