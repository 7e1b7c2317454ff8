"""What is read about one thing is read at one moment: nothing shows in parts."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Executable, Row

from tests.contracts.metadata_values import APP, NOW, manifest
from treescale.errors import NameUnknown
from treescale.metadata.sql import SqlDatabase
from treescale.metadata.sql.address import parse_address
from treescale.metadata.sql.connections import NOTHING, Connections, Parameters
from treescale.metadata.sql.sqlite import SqliteDriver
from treescale.metadata.sql.tags import SqlTags


class Interrupted(Connections):
    """Somebody else writes after each query."""

    def __init__(self, url: str, write: Callable[[], Awaitable[None]]) -> None:
        super().__init__(SqliteDriver(parse_address(url), 1.0))
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
    url: str, database: SqlDatabase
) -> None:
    async def push() -> None:
        await database.manifests.put(APP, manifest(), (), ["v1"], now=NOW)

    connections = Interrupted(url, push)
    tags = SqlTags(connections)
    with pytest.raises(NameUnknown):
        await tags.list(APP, "", 10)
    assert await tags.list(APP, "", 10) == ["v1"]
    await connections.close()
