"""What happened, and who is told of it."""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Table, Text

from treescale.metadata.schema.columns import BYTEWISE, metadata

# No foreign keys: an event outlives what it tells of. A publisher numbers those that are committed.
events: Final = Table(
    "events",
    metadata,
    Column("event_id", BYTEWISE, primary_key=True),
    Column("sequence", BigInteger),
    Column("kind", Text, nullable=False),
    Column("namespace", BYTEWISE),
    Column("repository", BYTEWISE),
    Column("reference", BYTEWISE),
    Column("digest", BYTEWISE),
    Column("previous_digest", BYTEWISE),
    Column("actor", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index(None, "sequence"),
    Index(None, "at"),
    sqlite_with_rowid=False,
)
