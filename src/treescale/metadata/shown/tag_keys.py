"""By which text each tag sorts: written with the tag, and later for those that came without one.

Servers of earlier versions know of no key, and what was restored has none: "" says so.
"""

from typing import Final

from sqlalchemy import bindparam, literal_column, select, update
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connections import Connections
from treescale.metadata.schema import tags
from treescale.oci.versions import version_key

AT_ONCE_MAX: Final = 1000
# Letter for letter that of the index, or it is not used.
_IS_UNKEYED: Final = tags.c.version_key == literal_column("''")
UNKEYED: Final = ahead(
    select(tags.c.repository_id, tags.c.name)
    .where(_IS_UNKEYED, tags.c.repository_id > 0)
    .order_by(tags.c.repository_id, tags.c.name)
    .limit(bindparam("limit")),
    "limit",
)
UNKEYED_OF: Final = UNKEYED.where(tags.c.repository_id == bindparam("row_id"))
_KEY: Final = (
    update(tags)
    .where(tags.c.repository_id == bindparam("row_id"), tags.c.name == bindparam("tag"))
    .values(version_key=bindparam("key"))
)


class TagKeys:
    """The keys of tags."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def fill_all(self) -> None:
        """Give all a key that have none, some at a time: a search of an index where all have."""
        while await self.fill() == AT_ONCE_MAX:
            pass

    async def fill(self, limit: int = AT_ONCE_MAX) -> int:
        """Give some tags a key that have none; return how many. Nothing is written without any."""
        found = await self._connections.rows(UNKEYED, {"limit": limit})
        keys = [_row(row.repository_id, row.name) for row in found]
        if not keys:
            return 0

        def work(connection: Connection) -> None:
            connection.execute(_KEY, keys)

        await self._connections.write(work, durable=False)
        return len(keys)


def key_tags(connection: Connection, row_id: int) -> None:
    """Give tags of a repository a key that have just come without one; some, if they are many."""
    found = connection.execute(UNKEYED_OF, {"row_id": row_id, "limit": AT_ONCE_MAX}).all()
    if found:
        connection.execute(_KEY, [_row(row.repository_id, row.name) for row in found])


def _row(row_id: int, tag: str) -> dict[str, object]:
    return {"row_id": row_id, "tag": tag, "key": version_key(tag)}
