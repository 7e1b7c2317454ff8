"""What repositories and namespaces say of themselves: text that nothing here looks into.

It hangs on the row's number: it moves with a repository, comes back with a deleted one, and is not
inherited by whoever gets a name that has become free.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Delete, Select, bindparam, delete, select
from sqlalchemy.engine import Connection

from treescale.errors import NameUnknown
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import Upsert, insert_or_update_if
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.organisations import hold_known
from treescale.metadata.schema import (
    namespace_descriptions,
    namespaces,
    repositories,
    repository_descriptions,
)

_OF_REPOSITORY: Final = repositories.c.name == bindparam("this")
_HOLD: Final = (
    select(repositories.c.repository_id).where(_OF_REPOSITORY).with_for_update(key_share=True)
)


@dataclass(frozen=True, slots=True)
class _Statements:
    """The same for repositories and for namespaces."""

    get: Select[tuple[str]]
    put: Upsert
    drop: Delete
    key: str

    def write(self, connection: Connection, row_id: int, text: str) -> bool:
        """Return whether that is another text than there was; an empty one has no row."""
        key = {"row_id": row_id}
        if not text:
            return changed(connection, self.drop, key) > 0
        return changed(connection, self.put.on(connection), {self.key: row_id, "text": text}) > 0


REPOSITORIES: Final = _Statements(
    select(repository_descriptions.c.text)
    .join(repositories, repositories.c.repository_id == repository_descriptions.c.repository_id)
    .where(_OF_REPOSITORY),
    insert_or_update_if(
        repository_descriptions,
        ["text"],
        {},
        lambda new: repository_descriptions.c.text != new.text,
    ),
    delete(repository_descriptions).where(
        repository_descriptions.c.repository_id == bindparam("row_id")
    ),
    "repository_id",
)
NAMESPACES: Final = _Statements(
    select(namespace_descriptions.c.text)
    .join(namespaces, namespaces.c.namespace_id == namespace_descriptions.c.namespace_id)
    .where(namespaces.c.name == bindparam("this")),
    insert_or_update_if(
        namespace_descriptions, ["text"], {}, lambda new: namespace_descriptions.c.text != new.text
    ),
    delete(namespace_descriptions).where(
        namespace_descriptions.c.namespace_id == bindparam("row_id")
    ),
    "namespace_id",
)


class Descriptions:
    """Keeps them; "" is none."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def of_repository(self, name: str) -> str:
        """Return a repository's; "" also where there is no repository."""
        row = await self._connections.row(REPOSITORIES.get, {"this": name})
        return "" if row is None else str(row.text)

    async def of_namespace(self, name: str) -> str:
        """Return a namespace's; "" also where there is no namespace."""
        row = await self._connections.row(NAMESPACES.get, {"this": name})
        return "" if row is None else str(row.text)

    async def describe_repository(self, name: str, text: str, *, actor: str) -> None:
        """Have a repository say this of itself; raises NameUnknown."""
        told = {"characters": len(text)}
        event = Event(Kind.REPOSITORY_DESCRIPTION, actor, name, payload=told)

        def work(connection: Connection) -> None:
            row_id = connection.execute(_HOLD, {"this": name}).scalar_one_or_none()
            if row_id is None:
                raise NameUnknown(f"no repository {name}")
            if REPOSITORIES.write(connection, row_id, text):
                record(connection, event)

        await self._connections.write(work)

    async def describe_namespace(self, name: str, text: str, *, actor: str) -> None:
        """Have a namespace say this of itself; raises NamespaceUnknown."""
        told = {"characters": len(text)}
        event = Event(Kind.NAMESPACE_DESCRIPTION, actor, namespace=name, payload=told)

        def work(connection: Connection) -> None:
            held = hold_known(connection, name)
            if NAMESPACES.write(connection, held.row_id, text):
                record(connection, event)

        await self._connections.write(work)
