"""A backup and a restore of many blobs on SQLite: how long, how large, and the most memory.

Each blob has ten chunks, a manifest that refers to it, and a link (`collect.idle` makes them). The
commands run as they are typed, each a process of its own.
"""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from bench.collect.idle import CHUNKS_OF_BLOB, fill
from bench.collect.stores import migrated
from bench.processes import at_once
from bench.rows import Bar, Effort, Row, at_most

MEGABYTES_MAX: Final = 500
"""As much as a server may take."""
PASSPHRASE: Final = "correct horse battery staple"  # noqa: S105  of a benchmark
_MB: Final = 1_000_000


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure with `--chunks` chunk rows: a tenth of them are blobs."""
    database = root / "full" / "treescale.db"
    database.parent.mkdir()
    migrated(f"sqlite:///{database}")
    # By a process of its own: a program's `ru_maxrss` begins with what its parent had at most.
    at_once([partial(fill, database, effort.chunks)])
    secret = root / "passphrase"
    secret.write_text(PASSPHRASE)
    name = f"{effort.chunks // CHUNKS_OF_BLOB:,} blobs, {effort.chunks:,} chunks"
    rows = [Row(f"{name}: SQLite's file", "MB", None, [database.stat().st_size / _MB])]
    for kind, flags in (("", []), (", encrypted", ["--passphrase-file", str(secret)])):
        file, target = root / f"backup{len(flags)}", root / f"target{len(flags)}"
        target.mkdir()
        made = _run("backup", str(file), "--data", str(database.parent), *flags)
        restored = _run("restore", str(file), "--data", str(target), *flags)
        rows += [
            *_rows(f"{name}: backup{kind}", *made),
            Row(f"{name}: its file{kind}", "MB", None, [file.stat().st_size / _MB]),
            *_rows(f"{name}: restore{kind}", *restored),
        ]
    return rows


def _rows(name: str, seconds: float, megabytes: float) -> list[Row]:
    limit: Bar = at_most(MEGABYTES_MAX)
    return [
        Row(name, "s", None, [seconds], digits=1),
        Row(f"{name}, most memory", "MB", limit, [megabytes]),
    ]


def _run(*words: str) -> tuple[float, float]:
    """Return how long a command took, and the most memory it had."""
    began = time.perf_counter()
    program = subprocess.Popen([sys.executable, "-m", "treescale", *words])
    _, status, used = os.wait4(program.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"treescale {words[0]} failed")
    return time.perf_counter() - began, used.ru_maxrss * 1024 / _MB
