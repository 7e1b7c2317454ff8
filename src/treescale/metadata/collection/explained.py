"""How many chunks recorded deletions have left without a row: what goes of them surprises nobody.

One number of the whole cluster that only grows, written with the rows that go. Stores compare it
with what it was, each its share of it (`maintenance.collection.orphans`): what is in no row beyond
that is rather a wrong database.
"""

from typing import Final

from sqlalchemy import BigInteger, Text, and_, bindparam, case, cast, func
from sqlalchemy.engine import Connection

from treescale.metadata.engine.upserts import Upsert
from treescale.metadata.layouts import DIGITS, NOTED_DIGITS_MAX
from treescale.metadata.schema import settings

COLLECTED_SETTING: Final = "collected_chunks"


def _add() -> Upsert:
    more, before = bindparam("more", type_=BigInteger()), settings.c.value
    row = {"name": COLLECTED_SETTING, "value": cast(more, Text())}
    is_number = and_(
        func.length(before).between(1, NOTED_DIGITS_MAX), func.ltrim(before, DIGITS) == ""
    )
    # What cannot be read explains nothing: from 0 on, which stores take for a new beginning.
    sum_ = case((is_number, cast(before, BigInteger())), else_=0) + more
    written = {"value": cast(sum_, Text())}
    return Upsert(
        lambda insert: (
            insert(settings)
            .values(row)
            .on_conflict_do_update(index_elements=["name"], set_=written)
        )
    )


_ADD: Final = _add()


def note_collected(connection: Connection, chunks: int) -> None:
    """Count so many more, in the transaction that takes their rows: the last row it locks."""
    if chunks:
        connection.execute(_ADD.on(connection), {"more": chunks})
