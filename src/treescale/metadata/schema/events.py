"""What happened, and who is told of it."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Table,
    Text,
    text,
)

from treescale.metadata.schema.columns import BYTEWISE, ROW_ID, metadata, part_of

# No foreign keys: an event outlives what it tells of. A publisher numbers those that are committed;
# on SQLite a trigger does as they are inserted.
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
    Column("address", Text),
    Index(None, "sequence"),
    Index(None, "at"),
    Index(None, "namespace", "at"),
    sqlite_with_rowid=False,
)
_HAS_REFERENCE: Final = text("reference IS NOT NULL")
Index(
    "ix_events_reference",
    events.c.repository,
    events.c.reference,
    events.c.at,
    sqlite_where=_HAS_REFERENCE,
)

# A group of consumers, of each of which one gets an event. `position`: what was given out last.
# `audience`: whose it is, an owner's or a maintainer's, who is given less.
event_groups: Final = Table(
    "event_groups",
    metadata,
    Column("group_id", ROW_ID, primary_key=True, autoincrement=True),
    Column(
        "namespace_id",
        ROW_ID,
        ForeignKey("namespaces.namespace_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", BYTEWISE, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("audience", Text, nullable=False, server_default="owner"),
    Index(None, "namespace_id", "name", unique=True),
    sqlite_autoincrement=True,
)

# What a group was given and has not acknowledged; given out again after `until`.
event_leases: Final = Table(
    "event_leases",
    metadata,
    part_of("event_groups.group_id"),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("until", Double, nullable=False),
    sqlite_with_rowid=False,
)
