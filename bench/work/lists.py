"""Pages of tags and of the catalog: with 1,000,000 tags and 100,000 repositories, and with 1,000.

Two of our servers, asked in turn for pages from the middle of the list. A page should cost the
same; what is above 1.2 is more than the noise of two servers that are alike.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import treescale
from bench.rounds import Targets
from bench.rows import Effort, Row, at_most
from bench.rowsets import OWNER, add_tags
from bench.wire import Connection, Target

LARGE: Final = (1_000_000, 100_000)
SMALL: Final = (1_000, 1_000)
"""Tags of one repository, and repositories."""
PAGE: Final = 100
LARGE_NAME: Final = "of 1,000,000 tags"
SMALL_NAME: Final = "of 1,000"
ASKED: Final = 300
"""Pages in a round."""
KINDS: Final = ("tags list", "_catalog")


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure milliseconds a page."""
    place = root / "lists"
    place.mkdir()
    for name, (tags, repositories) in (("large", LARGE), ("small", SMALL)):
        with treescale(place / name):
            pass
        add_tags(place / name, tags, repositories)
    with treescale(place / "large") as large, treescale(place / "small") as small:
        targets = Targets(replace(large, name=LARGE_NAME), (replace(small, name=SMALL_NAME),))
        steps = [partial(_pages, kind, effort.of(ASKED)) for kind in KINDS]
        figures = targets.measure(effort.rounds, steps)
    ours, others = figures.ours, figures.others[SMALL_NAME]
    what = f"page of {PAGE}, {LARGE_NAME}"
    return [
        Row(f"{kind}, {what}", "ms", at_most(1.2), ours[kind], others[kind], 3, SMALL_NAME)
        for kind in KINDS
    ]


def _pages(kind: str, asked: int, target: Target, _: int) -> Mapping[str, float]:
    tags, repositories = LARGE if target.name == LARGE_NAME else SMALL
    if kind == "tags list":
        path = f"/v2/{OWNER}/large/tags/list?n={PAGE}&last=t{tags // 2:07}"
        scope = f"repository:{OWNER}/large:pull"
    else:
        path = f"/v2/_catalog?n={PAGE}&last={OWNER}/r{repositories // 2:07}"
        scope = "registry:catalog:*"
    with Connection(target, _token(target, scope)) as connection:
        began = time.perf_counter()
        for _ in range(asked):
            answer = connection.ask("GET", path)
            page = json.loads(connection.body(answer))
            names = page["tags" if kind == "tags list" else "repositories"]
            if len(names) != PAGE:
                raise RuntimeError(f"{path} answered {len(names)} names")
        return {kind: (time.perf_counter() - began) / asked * 1000}


def _token(target: Target, scope: str) -> str:
    basic = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
    with Connection(target) as connection:
        answer = connection.ask("GET", f"/token?scope={scope}", f"Authorization: Basic {basic}\r\n")
        return str(json.loads(connection.body(answer))["token"])
