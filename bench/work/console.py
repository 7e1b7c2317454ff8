"""Pages of the console with 1,000,000 tags and 100,000 repositories on SQLite, as a browser asks.

One repository has a million tags of 50,000 indexes, each of two platforms with an attestation, and
signed. What a page takes is measured from its request to its last byte, on one connection; beside
it the CPU of all processes of the server, which other work on the machine does not lengthen.
"""

import gzip
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.peers import treescale
from bench.rows import Effort, Row, at_most
from bench.rowsets import OWNER, add_shown
from bench.wire import Connection, Target

TAGS: Final = 1_000_000
REPOSITORIES: Final = 100_000
ASKED: Final = 200
"""Of each page."""
WARMED: Final = 20
MILLISECONDS_MAX: Final = 50.0
KILOBYTES_MAX: Final = 100.0
LARGE: Final = f"/{OWNER}/large"
_DIGEST: Final = re.compile(rf'href="{LARGE}@(sha256:[0-9a-f]+)"')


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a page took."""

    milliseconds: list[float]
    cpu_milliseconds: float
    """Of one, on average."""
    page: bytes


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure each page: milliseconds at the 95th percentile, CPU, and kilobytes."""
    place = root / "console"
    with treescale(place):
        pass
    add_shown(place, TAGS, REPOSITORIES)
    rows: list[Row] = []
    with treescale(place, flags=["--workers", "1"]) as target:
        cookie = sign_in(target)
        for name, path in _paths(target, cookie).items():
            taken = _taken(target, cookie, path, effort.of(ASKED))
            rows += _rows(name, taken)
    return rows


def _rows(name: str, taken: _Taken) -> Iterator[Row]:
    ordered = sorted(taken.milliseconds)
    p95 = ordered[int(len(ordered) * 0.95)]
    yield Row(f"{name}: p95", "ms", at_most(MILLISECONDS_MAX), [p95], digits=1)
    yield Row(f"{name}: median", "ms", None, [ordered[len(ordered) // 2]], digits=1)
    yield Row(f"{name}: CPU", "ms", None, [taken.cpu_milliseconds], digits=1)
    compressed = len(gzip.compress(taken.page)) / 1000
    yield Row(f"{name}: plain", "kB", None, [len(taken.page) / 1000], digits=1)
    limit = at_most(KILOBYTES_MAX)
    yield Row(f"{name}: as gzip would have it", "kB", limit, [compressed], digits=1)


def _paths(target: Target, cookie: str) -> Mapping[str, str]:
    with Connection(target) as connection:
        page = _get(connection, cookie, LARGE).decode()
        found = re.search(r'rel="next" href="([^"]+)"', page)
        digest = _DIGEST.search(page)
        if found is None or digest is None:
            raise RuntimeError("the page of the large repository has no rows")
        return {
            "home": "/",
            "namespace": f"/{OWNER}",
            "tags by version": LARGE,
            "tags by version, second page": found[1].replace("&amp;", "&"),
            "tags pushed last": f"{LARGE}?order=pushed",
            "tags filtered": f"{LARGE}?filter=.77",
            "tags filtered, none fits": f"{LARGE}?filter=nothing",
            "an image": f"{LARGE}@{quote(digest[1], safe=':')}",
            "search, a piece of names": "/-/search?q=r00777",
            "search, nothing": "/-/search?q=nothing",
            "search, a digest": f"/-/search?q={digest[1][7:17]}",
        }


def _taken(target: Target, cookie: str, path: str, asked: int) -> _Taken:
    with Connection(target) as connection:
        page = _get(connection, cookie, path)
        for _ in range(WARMED):
            _get(connection, cookie, path)
        before, times = _cpu_seconds(target.pid), list[float]()
        for _ in range(asked):
            began = time.perf_counter()
            _get(connection, cookie, path)
            times.append((time.perf_counter() - began) * 1000)
        spent = _cpu_seconds(target.pid) - before
    return _Taken(times, spent / asked * 1000, page)


def _get(connection: Connection, cookie: str, path: str) -> bytes:
    answer = connection.ask("GET", path, f"Cookie: {cookie}\r\n")
    page = connection.body(answer)
    if answer.status != 200:  # noqa: PLR2004  OK
        raise RuntimeError(f"{path} answered {answer.status}: {page[:500]!r}")
    return page


def sign_in(target: Target) -> str:
    """Return the cookie of a new session."""
    form = f"name={target.user}&password={quote(target.password)}".encode()
    headers = (
        "Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://localhost\r\n"
        f"Content-Length: {len(form)}\r\n"
    )
    with Connection(target) as connection:
        answer = connection.ask("POST", "/-/sign-in", headers, form)
        connection.body(answer)
        return answer.headers["set-cookie"].partition(";")[0]


def _cpu_seconds(pid: int) -> float:
    """Return what a process and its descendants took of a CPU so far."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_of(one: int) -> bool:
        while one > 1:
            if one == pid:
                return True
            one = parents.get(one, 0)
        return False

    return sum(seconds for one, seconds in spent.items() if is_of(one))
