"""A walk that finds nothing to do, by how many chunks a store has: its time and its memory.

The store is an ext4 of names alone (`filling.names_alone`), the database a SQLite in which each of
them has its rows. Neither is in the kernel's memory when the walk begins.
"""

from pathlib import Path
from typing import Final

from bench.rows import Effort, Row, at_most
from bench.walk.child import empty_database, walked
from bench.walk.filling import name_all, names_alone

TIMES: Final = 10
MEMORY_MB_MAX: Final = 100
LINEAR_TIMES_MAX: Final = 1.2
"""Ten times the names may take twelve times as long: caches hold less of them."""


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure with a tenth of the names, and with all."""
    few = _measure(root / "few", effort.chunks // TIMES)
    many = _measure(root / "many", effort.chunks)
    return [
        *_rows(effort.chunks // TIMES, few),
        *_rows(effort.chunks, many),
        Row(
            f"… a name of {effort.chunks:,}",
            "µs",
            at_most(LINEAR_TIMES_MAX),
            [many["seconds"] / effort.chunks * 1e6],
            [few["seconds"] / (effort.chunks // TIMES) * 1e6],
            2,
            "a name of a tenth of them",
        ),
    ]


def _rows(count: int, figures: dict[str, float]) -> list[Row]:
    name = f"a walk that finds nothing, {count:,} chunks"
    return [
        Row(name, "s", None, [figures["seconds"]], digits=1),
        Row("… CPU", "s", None, [figures["cpu"]], digits=1),
        Row("… memory, the whole process", "MB", at_most(MEMORY_MB_MAX), [figures["peak_mb"]]),
    ]


def _measure(root: Path, count: int) -> dict[str, float]:
    root.mkdir()
    database = root / "treescale.db"
    url = empty_database(database)
    name_all(database, count)
    with names_alone(root, count) as store:
        figures = walked("look", store, url)
    for path in root.glob("*.*"):
        path.unlink()
    return figures
