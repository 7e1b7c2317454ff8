"""A look into a database that may be anybody's, before anything is made or migrated in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from treescale.errors import DatabaseUnavailable
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.errors import located

_STORES: Final = text("SELECT store_id FROM stores")
_CONTENT: Final = text(
    "SELECT EXISTS (SELECT 1 FROM blobs) AS pushed, EXISTS (SELECT 1 FROM repositories) AS named, "
    "(SELECT count(*) FROM users) AS users"
)


@dataclass(frozen=True, slots=True)
class Peek:
    """What a database says of itself; every schema that was ever released can."""

    stores: frozenset[str] = frozenset()
    """The stores it knows."""
    pushed: bool = False
    """Whether anything was ever pushed, as far as it knows."""
    used: bool = False
    """Whether it has repositories, or users beside the first: something that would be missed."""


NOTHING: Final = Peek()
"""A database that is not there, or has none of our tables."""


async def peek(url: str) -> Peek:
    """Look into the database at `url`; raises DatabaseUnavailable. Nothing is made."""
    address = parse_address(url)
    if address.path is not None and not _is_filled(Path(address.path)):
        return NOTHING
    connections = connect(address)
    try:
        stores = await connections.rows(_STORES)
        content = await connections.row(_CONTENT)
    except DBAPIError:
        return NOTHING  # no such table: errors of a database that is away have their own kind
    except DatabaseUnavailable as away:
        raise located(away, away.__cause__, address) from away
    finally:
        await connections.close()
    assert content is not None, "it has no condition"
    used = bool(content.named) or content.users > 1
    return Peek(frozenset(row[0] for row in stores), bool(content.pushed), used)


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
