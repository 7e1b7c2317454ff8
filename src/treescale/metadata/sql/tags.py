"""Tags in SQL. They are written with the manifest they point at (`manifests`)."""

from typing import Final

from sqlalchemy import bindparam, delete, select

from treescale.errors import ManifestUnknown, NameUnknown
from treescale.metadata.schema import repositories, tags
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import id_of

LIST: Final = (
    select(tags.c.name)
    .where(tags.c.repository_id == id_of(), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)
EXISTS: Final = select(repositories.c.repository_id).where(
    repositories.c.name == bindparam("repository")
)
DELETE: Final = delete(tags).where(tags.c.repository_id == id_of(), tags.c.name == bindparam("tag"))


class SqlTags:
    """Implements `protocols.Tags`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self, repository: str, after: str, limit: int) -> list[str]:
        """Return a page of tags in byte order; raises NameUnknown for an absent repository."""
        page = {"repository": repository, "after": after, "limit": limit}
        rows = await self._connections.rows(LIST, page)
        if not rows and await self._connections.row(EXISTS, {"repository": repository}) is None:
            raise NameUnknown(f"no repository {repository}")
        return [row.name for row in rows]

    async def delete(self, repository: str, tag: str) -> None:
        """Remove the tag alone; raises ManifestUnknown."""
        gone = await self._connections.change(DELETE, {"repository": repository, "tag": tag})
        if gone == 0:
            raise ManifestUnknown(f"no tag {tag} in {repository}")
