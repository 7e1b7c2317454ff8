"""What is purged, what is used, and what was pulled."""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, LargeBinary, Table, Text

from treescale.metadata.schema.columns import BYTEWISE, ROW_ID, metadata, part_of

# A purge takes chunks away at once, from every store. Not ready: rows are still being taken away.
# `number` counts those that are complete, in the order of commits.
purges: Final = Table(
    "purges",
    metadata,
    Column("purge_id", BYTEWISE, primary_key=True),
    Column("reference", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("begun", Double, nullable=False),
    Column("ready", Double),
    Column("gone", Double),
    Column("number", BigInteger),
)

# The fence: no transaction that names one of these commits before its purge is complete.
purged_chunks: Final = Table(
    "purged_chunks",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),
    Column("purge_id", BYTEWISE, nullable=False),
    Column("length", BigInteger, nullable=False),
    Index(None, "purge_id", "chunk"),
    sqlite_with_rowid=False,
)

# How often each store has looked for all chunks of a purge, and unlinked what it found. In a round
# that takes long it notes for how many it has looked so far, and when (`Purging.note`).
purge_stores: Final = Table(
    "purge_stores",
    metadata,
    Column("purge_id", BYTEWISE, primary_key=True),
    Column("store_id", BYTEWISE, primary_key=True),
    Column("rounds", BigInteger, nullable=False),
    Column("looked", BigInteger),
    Column("noted", Double),
    Index(None, "store_id"),
    sqlite_with_rowid=False,
)

# What triggers write down of links, tags and repositories, in the transaction that changes them;
# `usage.counting` adds it up and takes it away. No foreign keys: it outlives what it tells of.
usage_changes: Final = Table(
    "usage_changes",
    metadata,
    Column("change_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("repository_id", BigInteger),
    Column("namespace_id", BigInteger),
    Column("digest", BYTEWISE),  # of the link
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("blobs", BigInteger, nullable=False, server_default="0"),
    Column("tags", BigInteger, nullable=False, server_default="0"),
    Column("pushed", Double),
    Column("links_after", BYTEWISE),  # all links of the repository after this digest
    Index(None, "repository_id"),
)

# Without a row a repository was not counted yet.
repository_usage: Final = Table(
    "repository_usage",
    metadata,
    part_of("repositories.repository_id"),
    Column("bytes", BigInteger, nullable=False),
    Column("blobs", BigInteger, nullable=False),
    Column("tags", BigInteger, nullable=False),
    Column("pushed", Double),
    Index(None, "pushed"),
)

# The distinct blobs that are linked from the repositories of a namespace.
namespace_blobs: Final = Table(
    "namespace_blobs",
    metadata,
    part_of("namespaces.namespace_id"),
    Column("digest", BYTEWISE, primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# No index on what a pull writes: PostgreSQL then changes the row in place, or nearly.
pulls: Final = Table(
    "pulls",
    metadata,
    part_of("repositories.repository_id"),
    Column("reference", BYTEWISE, primary_key=True),  # a tag, or a digest
    Column("pulled", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
