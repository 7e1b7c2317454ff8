"""The results as a Markdown table and as JSON, with every round's figures."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.plot import drawn
from bench.rows import Effort, Row

HEAD: Final = (
    "| work | bar | TreeScale | docker-registry | ratio (range) | |\n|---|---|---|---|---|---|"
)


def table(rows: Sequence[Row], effort: Effort) -> str:
    """Return the table, with what it was measured on."""
    setting = (
        f"One server on {machine()}. Ratios are medians of {effort.rounds} interleaved rounds, "
        f"after one that warmed up and is not counted; large layers are "
        f"{effort.layer_bytes // 1_000_000} MB of random bytes. docker-registry 2.8.2: filesystem "
        "driver, no login. TreeScale: login, SQLite, one worker per core, everything fsynced "
        "before 201. The clients run on the same cores. The last column of figures of memory, "
        "start and lists is ours alone; lists hold 1,000,000 tags against 1,000."
    )
    return "\n".join([setting, "", HEAD, *(_line(row) for row in rows), ""])


def write(directory: Path, rows: Sequence[Row], effort: Effort) -> None:
    """Write one-server.md, .json and .svg."""
    directory.mkdir(exist_ok=True)
    (directory / "one-server.md").write_text(table(rows, effort))
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


def _line(row: Row) -> str:
    sign = "≥" if row.bar.at_least else "≤"
    verdict = "met" if row.met else "**short**"
    ours = f"{statistics.median(row.ours):.{row.digits}f} {row.unit}"
    if not row.other:
        low, high = min(row.ours), max(row.ours)
        spread = f" ({low:.{row.digits}f} to {high:.{row.digits}f})" if len(row.ours) > 1 else ""
        bar = f"{sign} {row.bar.limit:g} {row.unit}"
        return f"| {row.work} | {bar} | {ours}{spread} | | | {verdict} |"
    ratios = row.judged
    return (
        f"| {row.work} | {sign} {row.bar.limit:g}-fold | {ours} "
        f"| {statistics.median(row.other):.{row.digits}f} {row.unit} "
        f"| **{row.value:.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) | {verdict} |"
    )


def _record(row: Row) -> dict[str, object]:
    return {
        "work": row.work,
        "unit": row.unit,
        "bar": row.bar.limit,
        "at_least": row.bar.at_least,
        "judged": round(row.value, 3),
        "met": row.met,
        "ours": [round(figure, 4) for figure in row.ours],
        "other": [round(figure, 4) for figure in row.other],
    }
