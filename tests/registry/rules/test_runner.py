"""How a pass goes on: in pieces, once an hour, and where another process left it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.metadata_retention import MONTH
from tests.contracts.metadata_rules import FIRST, push, rule
from tests.contracts.metadata_values import ACTOR
from tests.templates import empty_database
from treescale.metadata.database import Database, open_database
from treescale.metadata.retention.rules import Rules
from treescale.metadata.rules.records import THE_CLUSTER
from treescale.registry.rules import runner
from treescale.registry.rules.runner import SETTING, SLICE_SECONDS_MAX, Retention

NAMES = ["alice/a", "alice/b", "alice/c"]


class SlowClock:
    """A clock on which each look takes a slice."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        self.at += SLICE_SECONDS_MAX
        return self.at


async def may() -> bool:
    return True


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Three repositories with an old tag each, and a rule of the cluster that lets it go."""
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    for name in NAMES:
        await push(opened, FIRST, "old", name=name)
    made = await rule(opened, THE_CLUSTER, MONTH)
    await Rules(opened.connections).arm(THE_CLUSTER, [made], actor=ACTOR)
    yield opened
    await opened.close()


async def left(database: Database) -> list[str]:
    found = [await database.manifests.list_tags(name, "", 10) for name in NAMES]
    return [name for name, tags in zip(NAMES, found, strict=True) if tags]


async def test_each_turn_goes_on_where_the_last_one_was(database: Database) -> None:
    for number in range(1, len(NAMES) + 1):
        await Retention(database, SlowClock(), may).turn()
        assert await left(database) == NAMES[number:]
    await push(database, FIRST, "old", name=NAMES[0])
    for _ in range(2):
        await Retention(database, SlowClock(), may).turn()
    assert await left(database) == NAMES[:1], "a pass is over, and the next one an hour away"


@pytest.mark.parametrize("noted", ["nonsense", '{"begun":99999999999}', '{"begun":1}'])
async def test_what_nobody_can_read_or_is_of_another_clock_begins_anew(
    database: Database, noted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SLICE_SECONDS_MAX", 1e9)
    await database.settings.put(SETTING, noted)
    await Retention(database, SlowClock(), may).turn()
    assert await left(database) == []
