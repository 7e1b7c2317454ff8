"""When a server has its stores walked: at once beside others, later alone, or when it is asked."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes_disk import JumpingClock
from tests.tables import each_row
from treescale.metadata.database import Database
from treescale.server import jobs as jobs_module
from treescale.server.cluster_view import ClusterView
from treescale.server.jobs import WALK_ALONE_SECONDS, walk_job
from treescale.server.shared import Flag


class Jobs:
    """What stores were asked for."""

    def __init__(self) -> None:
        self.open: Mapping[str, list[object]] = {}

    async def open_of(self, store: str) -> list[object]:
        return self.open.get(store, [])


class Purges:
    """What stores have to unlink."""

    def __init__(self, due: str) -> None:
        self._due = due

    async def due_at(self, store: str) -> list[object]:
        return [object()] if store == self._due else []


@each_row(
    ("stores", "later", "asked", "purged", "is_wanted"),
    [
        ("a", 0.0, "", "", False),
        ("a", WALK_ALONE_SECONDS - 1, "", "", False),
        ("a", WALK_ALONE_SECONDS, "", "", True),
        ("a", 0.0, "a", "", True),
        ("a", 0.0, "", "a", True),
        ("a", 0.0, "b", "b", False),
        ("ab", 0.0, "", "", True),
    ],
)
async def test_it_is_wanted(
    stores: str,
    later: float,
    asked: str,
    purged: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_wanted: bool,
) -> None:
    monkeypatch.setattr(jobs_module, "Purging", lambda _: Purges(purged))
    clock, wanted, jobs = JumpingClock(), Flag(), Jobs()
    view: Any = SimpleNamespace(store=SimpleNamespace(figures=dict.fromkeys(stores)))
    database: Any = SimpleNamespace(jobs=jobs, connections=None)
    job = walk_job(cast("Database", database), cast("ClusterView", view), ["a"], wanted, clock)
    clock.seconds += later
    jobs.open = {asked: [object()]}
    await job.work()
    assert wanted.is_set() is is_wanted
