"""A deletion that broke off: the server is stopped after its first transaction."""

from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR, APP
from treescale.errors import DatabaseUnavailable
from treescale.metadata.database import Database


async def broken_off(database: Database, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin to delete a manifest, and stop."""
    write = database.connections.write

    async def once(work: Any, **named: Any) -> Any:
        monkeypatch.setattr(database.connections, "write", refused)
        return await write(work, **named)

    async def refused(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("the server is stopped")

    monkeypatch.setattr(database.connections, "write", once)
    with pytest.raises(DatabaseUnavailable):
        await database.manifests.delete(APP, digest, actor=ACTOR)
    monkeypatch.setattr(database.connections, "write", write)
