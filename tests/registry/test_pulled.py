"""Pulls are counted in memory and written together; what could not be written is written later."""

from collections.abc import Iterable

import pytest

from tests.fakes_disk import JumpingClock
from treescale.errors import DatabaseUnavailable
from treescale.metadata.usage.pull_counts import PullCounts, Pulled
from treescale.registry import pulled as pulled_module
from treescale.registry.pulled import PullCounter

NOW = JumpingClock().now()


class Counts(PullCounts):
    """Keeps what it is told, unless its database is away."""

    def __init__(self) -> None:
        self.told: list[list[Pulled]] = []
        self.away = False

    async def add(self, counts: Iterable[Pulled]) -> None:
        if self.away:
            raise DatabaseUnavailable("away")
        self.told.append(sorted(counts))


async def test_pulls_are_written_once_and_together() -> None:
    counts, clock = Counts(), JumpingClock()
    counter = PullCounter(counts, clock)
    counter.note("a/b", ["v1", "sha256:1"])
    clock.seconds += 5
    counter.note("a/b", ["v2", "sha256:1"])
    counts.away = True
    with pytest.raises(DatabaseUnavailable):
        await counter.write()
    counts.away = False
    counter.note("a/b", ["v1"])
    await counter.write()
    assert counts.told.pop() == [
        Pulled("a/b", "sha256:1", NOW + 5, 2),
        Pulled("a/b", "v1", NOW + 5, 2),
        Pulled("a/b", "v2", NOW + 5, 1),
    ]
    await counter.write()
    assert counts.told.pop() == []


async def test_so_many_names_are_counted_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled_module, "NAMES_MAX", 2)
    counts = Counts()
    counter = PullCounter(counts, JumpingClock())
    for reference in ("a", "b", "c", "b"):
        counter.note("a/b", [reference])
    await counter.write()
    assert counts.told == [[Pulled("a/b", "a", NOW, 1), Pulled("a/b", "b", NOW, 2)]]
