"""How many chunks recorded deletions have left without a row: what goes of them surprises nobody.

One number of the whole cluster that only grows, written with the rows that go. Stores compare it
with what it was, each its share of it (`maintenance.collection.orphans`): what is in no row beyond
that is rather a wrong database.
"""

from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, cast
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from treescale.metadata.engine.upserts import Upsert
from treescale.metadata.schema import settings

COLLECTED_SETTING: Final = "collected_chunks"


def _add() -> Upsert:
    row = {"name": COLLECTED_SETTING, "value": cast(bindparam("more", type_=BigInteger()), Text())}
    sum_ = cast(settings.c.value, BigInteger()) + bindparam("more", type_=BigInteger())
    lite, post = sqlite.insert(settings).values(row), postgresql.insert(settings).values(row)
    written = {"value": cast(sum_, Text())}
    return Upsert(
        lite.on_conflict_do_update(index_elements=["name"], set_=written),
        post.on_conflict_do_update(index_elements=["name"], set_=written),
    )


_ADD: Final = _add()


def note_collected(connection: Connection, chunks: int) -> None:
    """Count so many more, in the transaction that takes their rows: the last row it locks."""
    if chunks:
        connection.execute(_ADD.on(connection), {"more": chunks})
