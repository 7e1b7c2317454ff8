"""The results as a Markdown table and as JSON, with every round's figures."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.plot import drawn
from bench.rows import PEER, Effort, Row

RATIOS: Final = (
    "| work | bar | TreeScale | docker-registry | ratio (range) | |\n|---|---|---|---|---|---|"
)
FIGURES: Final = "| TreeScale alone | bar | measured (range) | |\n|---|---|---|---|"


def tables(rows: Sequence[Row]) -> str:
    """Return the ratios to the peer, and what is ours alone, as Markdown tables."""
    ratios = [_ratio_line(row) for row in rows if row.other and row.against == PEER]
    figures = [_figure_line(row) for row in rows if not (row.other and row.against == PEER)]
    parts = [[RATIOS, *ratios, ""] if ratios else [], [FIGURES, *figures, ""] if figures else []]
    return "\n".join(line for part in parts for line in part)


def page(rows: Sequence[Row], effort: Effort) -> str:
    """Return the whole page: the tables, with what they were measured on and how."""
    verdicts = [row.met for row in rows]
    return f"""# One server, measured beside docker-registry 2.8.2

On {machine()}; written by `make bench`. {sum(verdicts)} of {len(verdicts)} bars are met.

Ratios are medians of {effort.rounds} interleaved rounds, after one that warmed up and is not \
counted; both use all cores, and so do the clients. Large layers are \
{effort.layer_bytes // 1_000_000} MB of random bytes. docker-registry: Debian's package, \
filesystem driver, its cache of blob descriptors on, no login, nothing fsynced. TreeScale: as it \
comes, with its login, SQLite, one worker per core, everything fsynced before 201. Pushed bytes \
come as dockerd sends them, in chunks of 32 KiB; TLS clients offer AES-128 first, as \
dockerd does. All memory had been in use before (bench/machine.py), and layers are pulled soon \
after they were pushed, so both have them in the page cache.

![ratios](one-server.svg)

{tables(rows)}"""


def write(directory: Path, rows: Sequence[Row], effort: Effort) -> None:
    """Write one-server.md, .json and .svg."""
    directory.mkdir(exist_ok=True)
    (directory / "one-server.md").write_text(page(rows, effort))
    content = {
        "machine": machine(),
        "rounds": effort.rounds,
        "layer_bytes": effort.layer_bytes,
        "rows": [_record(row) for row in rows],
    }
    (directory / "one-server.json").write_text(json.dumps(content, indent=1) + "\n")
    (directory / "one-server.svg").write_text(drawn(rows))


def machine() -> str:
    """Name what the figures were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {system}"


def _ratio_line(row: Row) -> str:
    return (
        f"| {row.work} | {_sign(row)} {row.bar.limit:g} | {_median(row.ours, row)} "
        f"| {_median(row.other, row)} | **{row.value:.2f}**{_range(row.judged, 2)} "
        f"| {_verdict(row)} |"
    )


def _figure_line(row: Row) -> str:
    if not row.other:
        bar = f"{row.bar.limit:g} {row.unit}"
        measured = f"**{_median(row.ours, row)}**{_range(row.ours, row.digits)}"
    else:
        bar = f"{row.bar.limit:g} times that {row.against}"
        measured = (
            f"{_median(row.ours, row)}, {row.against} {_median(row.other, row)}: "
            f"**{row.value:.2f}**{_range(row.judged, 2)}"
        )
    return f"| {row.work} | {_sign(row)} {bar} | {measured} | {_verdict(row)} |"


def _sign(row: Row) -> str:
    return "≥" if row.bar.at_least else "≤"


def _verdict(row: Row) -> str:
    return "met" if row.met else "**short**"


def _median(figures: Sequence[float], row: Row) -> str:
    return f"{statistics.median(figures):.{row.digits}f} {row.unit}"


def _range(figures: Sequence[float], digits: int) -> str:
    if len(figures) == 1:
        return ""
    return f" ({min(figures):.{digits}f} to {max(figures):.{digits}f})"


def _record(row: Row) -> dict[str, object]:
    return {
        "work": row.work,
        "unit": row.unit,
        "bar": row.bar.limit,
        "at_least": row.bar.at_least,
        "judged": round(row.value, 3),
        "met": row.met,
        "ours": [round(figure, 4) for figure in row.ours],
        "against": row.against if row.other else None,
        "other": [round(figure, 4) for figure in row.other],
    }
