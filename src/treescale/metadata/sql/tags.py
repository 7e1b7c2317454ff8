"""Tags in SQL. They are written with the manifest they point at (`manifests`)."""

from typing import Final

from sqlalchemy import bindparam, delete, null, select, union_all

from treescale.errors import ManifestUnknown, NameUnknown
from treescale.metadata.schema import repositories, tags
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import id_of

_PAGE: Final = (
    select(tags.c.name)
    .where(tags.c.repository_id == id_of(), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
    .subquery("page")
)
_REPOSITORY: Final = select(null()).where(repositories.c.name == bindparam("repository"))
# One statement, so one moment: with two, a first push in between would show as no tags at all.
LIST: Final = union_all(select(_PAGE.c.name), _REPOSITORY)
DELETE: Final = delete(tags).where(tags.c.repository_id == id_of(), tags.c.name == bindparam("tag"))


class SqlTags:
    """Implements `protocols.Tags`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self, repository: str, after: str, limit: int) -> list[str]:
        """Return a page of tags in byte order; raises NameUnknown for an absent repository."""
        page = {"repository": repository, "after": after, "limit": limit}
        rows = await self._connections.rows(LIST, page)
        if not rows:
            raise NameUnknown(f"no repository {repository}")
        return sorted(row.name for row in rows if row.name is not None)

    async def delete(self, repository: str, tag: str) -> None:
        """Remove the tag alone; raises ManifestUnknown."""
        gone = await self._connections.change(DELETE, {"repository": repository, "tag": tag})
        if gone == 0:
            raise ManifestUnknown(f"no tag {tag} in {repository}")
