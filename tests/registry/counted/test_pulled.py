"""Pulls are counted in memory and written together; what could not be written is written later."""

from collections.abc import Iterable
from typing import Final

import pytest

from tests.fakes_disk import JumpingClock
from treescale.errors import DatabaseUnavailable
from treescale.metadata.usage.pull_counts import ImagePulls, PullCounts, Pulled, Sent
from treescale.registry.counted import pulled as pulled_module
from treescale.registry.counted.pulled import PullCounter

NOW = JumpingClock().now()
ACTOR: Final = "server:s1"


class Counts(PullCounts):
    """Keeps what it is told, unless its database is away."""

    def __init__(self) -> None:
        self.told: list[list[Pulled]] = []
        self.images: list[list[ImagePulls]] = []
        self.sent: list[list[Sent]] = []
        self.away = False

    async def add(
        self,
        counts: Iterable[Pulled],
        images: Iterable[ImagePulls] = (),
        sent: Iterable[Sent] = (),
        *,
        actor: str,
    ) -> None:
        assert actor == ACTOR
        if self.away:
            raise DatabaseUnavailable("away")
        self.told.append(sorted(counts))
        self.images.append(sorted(images))
        self.sent.append(sorted(sent))


async def test_pulls_are_written_once_and_together() -> None:
    counts, clock = Counts(), JumpingClock()
    counter = PullCounter(counts, clock)
    counter.note("a/b", "sha256:1", "v1")
    clock.seconds += 5
    counter.note("a/b", "sha256:1", "v2")
    counts.away = True
    with pytest.raises(DatabaseUnavailable):
        await counter.write(actor=ACTOR)
    counts.away = False
    counter.note("a/b", "sha256:1")
    await counter.write(actor=ACTOR)
    assert counts.told.pop() == [
        Pulled("a/b", "sha256:1", NOW + 5, 3),
        Pulled("a/b", "v1", NOW, 1),
        Pulled("a/b", "v2", NOW + 5, 1),
    ]
    assert counts.images.pop() == [
        ImagePulls("a/b", "", "sha256:1", 1),
        ImagePulls("a/b", "v1", "sha256:1", 1),
        ImagePulls("a/b", "v2", "sha256:1", 1),
    ]
    await counter.write(actor=ACTOR)
    assert (counts.told.pop(), counts.images.pop()) == ([], [])


async def test_so_many_names_are_counted_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled_module, "NAMES_MAX", 2)
    counts = Counts()
    counter = PullCounter(counts, JumpingClock())
    for reference in ("a", "b", "c", "b"):
        counter.note("a/b", reference)
    await counter.write(actor=ACTOR)
    assert counts.told == [[Pulled("a/b", "a", NOW, 1), Pulled("a/b", "b", NOW, 2)]]


async def test_of_many_images_a_bounded_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it what was pulled of a repository is summed, and of so many repositories."""
    monkeypatch.setattr(pulled_module, "TOLD_MAX", 2)
    counts = Counts()
    counter = PullCounter(counts, JumpingClock())
    for name in ("a/1", "a/2", "a/3", "a/3", "a/4", "a/5", "a/1"):
        counter.note(name, "sha256:1", "v1")
    counts.away = True
    with pytest.raises(DatabaseUnavailable):
        await counter.write(actor=ACTOR)
    counts.away = False
    await counter.write(actor=ACTOR)
    assert counts.images.pop() == [
        ImagePulls("a/1", "v1", "sha256:1", 2),
        ImagePulls("a/2", "v1", "sha256:1", 1),
        ImagePulls("a/3", "", "", 2),
        ImagePulls("a/4", "", "", 1),
    ]


async def test_what_is_sent_is_summed_by_namespace_and_kept_while_the_database_is_away() -> None:
    counts, clock = Counts(), JumpingClock()
    counter = PullCounter(counts, clock)
    counter.note("a/b", "sha256:1", "v1")
    counter.sent("a/b", 5)
    counter.sent("a/c", 7)
    counter.sent("b/c", 0)
    counts.away = True
    with pytest.raises(DatabaseUnavailable):
        await counter.write(actor=ACTOR)
    counter.sent("a/b", 1)
    counts.away = False
    await counter.write(actor=ACTOR)
    assert [(one.namespace, one.size, one.times) for one in counts.sent[-1]] == [("a", 13, 1)]
