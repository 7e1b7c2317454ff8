"""What is read about one thing is read at one moment: nothing shows in parts."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Executable, Row

from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest
from treescale.cache.answers import AnswerCache
from treescale.clock import SystemClock
from treescale.errors import NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connections import NOTHING, Connections, Parameters
from treescale.metadata.engine.sqlite import SqliteDriver
from treescale.metadata.manifests import Manifests
from treescale.metadata.records import Manifest


def unkept() -> AnswerCache[Manifest]:
    return AnswerCache(lambda: None, SystemClock())


class Interrupted(Connections):
    """Somebody else writes after each query."""

    def __init__(self, url: str, write: Callable[[], Awaitable[None]]) -> None:
        super().__init__(SqliteDriver(parse_address(url), 1.0, SystemClock()))
        self._write = write

    async def rows(
        self, statement: Executable, parameters: Parameters = NOTHING
    ) -> Sequence[Row[Any]]:
        found = await super().rows(statement, parameters)
        await self._write()
        return found


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_first_push_is_not_seen_as_a_repository_without_tags(
    url: str, database: Database
) -> None:
    async def push() -> None:
        await database.manifests.put(APP, manifest(), (), ["v1"], now=NOW, actor=ACTOR)

    connections = Interrupted(url, push)
    manifests = Manifests(connections, unkept(), unkept())
    with pytest.raises(NameUnknown):
        await manifests.list_tags(APP, "", 10)
    assert await manifests.list_tags(APP, "", 10) == ["v1"]
    await connections.close()
