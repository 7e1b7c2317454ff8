"""Starts a walk in a process of its own, whose memory and core are no one else's."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from treescale.metadata.migrations import migrate

SECONDS_MAX: Final = 3600.0


def empty_database(path: Path) -> str:
    """Make a SQLite database with its tables; return its URL."""
    url = f"sqlite:///{path}"
    asyncio.run(migrate(url))
    return url


def walked(what: str, store: Path, url: str) -> dict[str, float]:
    """Return what `bench.walk.once` measured."""
    command = [sys.executable, "-m", "bench.walk.once", what, str(store), url]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=SECONDS_MAX)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
