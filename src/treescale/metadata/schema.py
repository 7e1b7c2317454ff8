"""The tables, once for both databases; docs/schema.md says what each is for.

Text keys sort by bytes everywhere (SQLite's BINARY, PostgreSQL's "C"), because lists are paginated
by them. Rows that hang on another row go with it (ON DELETE CASCADE), except where a reference must
keep its target alive: a linked blob and a referenced chunk cannot be deleted.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.dialects import postgresql

SCHEMA_VERSION: Final = "0014"
SCHEMA_VERSION_TABLE: Final = "schema_version"
NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
BYTEWISE: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
ROW_ID: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column spelled INTEGER; there it has 64 bits too."""

metadata: Final = MetaData(naming_convention=NAMING)


def _part_of(target: str) -> Column[int]:
    """Return a part of a primary key that goes with the row it refers to."""
    key = ForeignKey(target, ondelete="CASCADE")
    return Column(target.partition(".")[2], ROW_ID, key, primary_key=True, autoincrement=False)


users: Final = Table(
    "users",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", Double, nullable=False),
)

access_tokens: Final = Table(
    "access_tokens",
    metadata,
    Column("token_id", BYTEWISE, primary_key=True),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("label", Text, nullable=False),
    Column("secret_sha256", BYTEWISE, nullable=False, unique=True),
    Column("allow", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("last_used", Double),
    Index(None, "user_name", "created", "token_id"),
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("key_id", BYTEWISE, primary_key=True),
    Column("private_pem", Text, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("retire_at", Double, nullable=False),
)

settings: Final = Table(
    "settings",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("value", Text, nullable=False),
)

revocations: Final = Table(
    "revocations",
    metadata,
    Column("subject", BYTEWISE, primary_key=True),
    Column("revoked", Double, nullable=False),
    Index(None, "revoked", "subject"),
)

# One row a subject ("user:NAME", "token:ID"), numbered anew by every change of what it may do.
generations: Final = Table(
    "generations",
    metadata,
    Column("subject", BYTEWISE, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("changed", Double, nullable=False),
    Index(None, "generation"),
)

known_addresses: Final = Table(
    "known_addresses",
    metadata,
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    Column("address", BYTEWISE, primary_key=True),
    Column("seen", Double, nullable=False),
    Index(None, "seen"),
    sqlite_with_rowid=False,
)

# Numbers that are given out once each, in the order of commits.
counters: Final = Table(
    "counters",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Background work of which one server of all does each, until the database's time passes `until`.
leases: Final = Table(
    "leases",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
    Column("fence", BigInteger, nullable=False),
)

peer_keys: Final = Table(
    "peer_keys",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
)

# No index on what a heartbeat writes: PostgreSQL then changes the row in place, or nearly.
servers: Final = Table(
    "servers",
    metadata,
    Column("server_id", BYTEWISE, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("to_clients", BigInteger),
    Column("from_clients", BigInteger),
    Column("to_servers", BigInteger),
    Column("from_servers", BigInteger),
    Column("place", Text),
    Column("version", Text),
    Column("clock_error", Double),
    Column("unreached", Text),  # JSON: the ids of other servers, and why each is not reached
    Column("certificate_expires", Double),
)

# No foreign key to servers: rows from before there were any have no server.
stores: Final = Table(
    "stores",
    metadata,
    Column("store_id", BYTEWISE, primary_key=True),
    Column("server", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("weight", Double, nullable=False),
    Column("registered", Double, nullable=False),
    Column("server_id", BYTEWISE, nullable=False, server_default=text("''")),
    Column("state", Text, nullable=False, server_default="active"),
    Column("seen", Double, nullable=False, server_default="0"),
    Column("bytes_total", BigInteger),
    Column("bytes_free", BigInteger),
    Column("trouble", Text, nullable=False, server_default=text("''")),
)

layouts: Final = Table(
    "layouts",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("copies", Integer, nullable=False),
    Column("created", Double, nullable=False),
    Column("stores", Text, nullable=False),
)

# No foreign keys: a debt is written before its chunk belongs to a blob, and must be written though
# its store is being forgotten at this moment.
owed: Final = Table(
    "owed",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),
    Column("store_id", BYTEWISE, primary_key=True),
    Column("since", Double, nullable=False),
    Index(None, "store_id", "chunk"),
    sqlite_with_rowid=False,
)

# What hangs on an id is no later namespace's of that name: an id is given out once.
namespaces: Final = Table(
    "namespaces",
    metadata,
    Column("namespace_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("name", BYTEWISE, nullable=False, unique=True),
    Column("kind", Text, nullable=False, server_default="user"),
    # Of its `namespace_blobs`.
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("blobs", BigInteger, nullable=False, server_default="0"),
    Column("read_only", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)

repositories: Final = Table(
    "repositories",
    metadata,
    Column("repository_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("name", BYTEWISE, nullable=False, unique=True),
    Column("namespace", BYTEWISE, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    # A deleted one also has a name that nobody can ask for (`metadata.repositories`).
    Column("deleted", Double),
    # None of those that a server of 0.1.0 makes, until `usage.counting` finds them.
    Column("namespace_id", ROW_ID, ForeignKey("namespaces.namespace_id")),
    Column("read_only", Boolean, nullable=False, server_default=false()),
    Index(None, "namespace", "name"),
    Index(None, "public", "name"),
    Index(None, "namespace_id", "name"),
)
_IS_DELETED: Final = text("deleted IS NOT NULL")
Index(
    "ix_repositories_deleted",
    repositories.c.deleted,
    sqlite_where=_IS_DELETED,
    postgresql_where=_IS_DELETED,
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("blob_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("digest", BYTEWISE, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("inline", LargeBinary),
    Column("recipe", LargeBinary),
    Column("lost_since", Double),
    CheckConstraint("(inline IS NULL) <> (recipe IS NULL)", name="either"),
)
_IS_LOST: Final = text("lost_since IS NOT NULL")
Index(
    "ix_blobs_lost_since",
    blobs.c.lost_since,
    sqlite_where=_IS_LOST,
    postgresql_where=_IS_LOST,
)

# No foreign key: a chunk may be found lost before, and after, a blob refers to it.
lost_chunks: Final = Table(
    "lost_chunks",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),
    Column("since", Double, nullable=False),
    sqlite_with_rowid=False,
)

repository_blobs: Final = Table(
    "repository_blobs",
    metadata,
    _part_of("repositories.repository_id"),
    # The blob's digest again, so that one index finds a link and lists links in order.
    Column("digest", BYTEWISE, primary_key=True),
    Column("blob_id", ROW_ID, ForeignKey("blobs.blob_id"), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("hidden", Double),
    Index(None, "blob_id"),
    sqlite_with_rowid=False,
)
_IS_QUEUED: Final = text("lease_until >= 0")
Index(
    "ix_repository_blobs_lease_until",
    repository_blobs.c.lease_until,
    sqlite_where=_IS_QUEUED,
    postgresql_where=_IS_QUEUED,
)
SETTLED: Final = -1.0
"""The `lease_until` of a link that was looked at and referred to: it waits for nothing. Not NULL,
so that a server of 0.1.0, which sets it to a later time only, renews it as ever."""
NAMELESS: Final = "gone:"
"""How the digest of a blob begins that no repository has any more and whose chunk rows go piece by
piece; its row id follows. No client can ask for it, and one index finds them all."""

chunks: Final = Table(
    "chunks",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),
    Column("length", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

blob_chunks: Final = Table(
    "blob_chunks",
    metadata,
    _part_of("blobs.blob_id"),
    Column("chunk", LargeBinary, ForeignKey("chunks.chunk"), primary_key=True),
    Index(None, "chunk"),
    sqlite_with_rowid=False,
)

# Payload last: SQLite then reads the columns before it without touching a large row's other pages.
manifests: Final = Table(
    "manifests",
    metadata,
    _part_of("repositories.repository_id"),
    Column("digest", BYTEWISE, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("subject", BYTEWISE),
    Column("artifact_type", BYTEWISE),
    Column("annotations_bytes", BigInteger, nullable=False),
    # Or restored, last.
    Column("pushed", Double, nullable=False),
    Column("annotations", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("deleted", Double),
    Column("lease_until", Double),
    Column("pushed_by", Text),
    # Since when it was seen that nothing holds it (`metadata.collection.untagged`).
    Column("untagged_since", Double),
)
_IS_UNTAGGED: Final = text("untagged_since IS NOT NULL")
Index(
    "ix_manifests_untagged_since",
    manifests.c.untagged_since,
    manifests.c.repository_id,
    manifests.c.digest,
    sqlite_where=_IS_UNTAGGED,
    postgresql_where=_IS_UNTAGGED,
)
Index(
    "ix_manifests_deleted",
    manifests.c.deleted,
    sqlite_where=_IS_DELETED,
    postgresql_where=_IS_DELETED,
)
_HAS_SUBJECT: Final = text("subject IS NOT NULL")
Index(
    "ix_manifests_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=_HAS_SUBJECT,
    postgresql_where=_HAS_SUBJECT,
)
Index(
    "ix_manifests_subject_artifact_type",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.artifact_type,
    manifests.c.digest,
    sqlite_where=_HAS_SUBJECT,
    postgresql_where=_HAS_SUBJECT,
)

manifest_references: Final = Table(
    "manifest_references",
    metadata,
    Column("repository_id", ROW_ID, primary_key=True, autoincrement=False),
    Column("manifest", BYTEWISE, primary_key=True),
    Column("digest", BYTEWISE, primary_key=True),
    Column("kind", Text, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "manifest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    Index(None, "repository_id", "digest"),
    sqlite_with_rowid=False,
)

tags: Final = Table(
    "tags",
    metadata,
    Column("repository_id", ROW_ID, primary_key=True, autoincrement=False),
    Column("name", BYTEWISE, primary_key=True),
    Column("digest", BYTEWISE, nullable=False),
    Column("updated", Double, nullable=False),
    Column("pushed_by", Text),
    ForeignKeyConstraint(
        ["repository_id", "digest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    Index(None, "repository_id", "digest"),
    sqlite_with_rowid=False,
)

# Of each tag and manifest the last time that it was taken away; the rest of the row as it was.
deleted_tags: Final = Table(
    "deleted_tags",
    metadata,
    Column("repository_id", ROW_ID, primary_key=True, autoincrement=False),
    Column("name", BYTEWISE, primary_key=True),
    Column("digest", BYTEWISE, primary_key=True),
    Column("updated", Double, nullable=False),
    Column("pushed_by", Text),
    Column("deleted", Double, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "digest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    Index(None, "repository_id", "digest"),
    Index(None, "deleted"),
    sqlite_with_rowid=False,
)

# Bound to names, not to rows: the first upload to a repository comes before the repository.
uploads: Final = Table(
    "uploads",
    metadata,
    Column("upload_id", BYTEWISE, primary_key=True),
    Column("repository", BYTEWISE, nullable=False),
    Column("user_name", BYTEWISE, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("hashed", Text, nullable=False),
    Column("settled_bytes", BigInteger, nullable=False),
    Column("parts", BigInteger, nullable=False),
    Column("tail_chunk", LargeBinary),
    Column("tail_chunk_length", BigInteger),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("tail_inline", LargeBinary),
    CheckConstraint("(tail_inline IS NULL) <> (tail_chunk IS NULL)", name="tail"),
    Index(None, "updated"),
)

# Append-only: what an advance settles is written once, not with every later advance again.
upload_parts: Final = Table(
    "upload_parts",
    metadata,
    Column(
        "upload_id",
        BYTEWISE,
        ForeignKey("uploads.upload_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("entries", LargeBinary, nullable=False),
)

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

# Where the walk of each store stands, written by its server. No foreign key: a store that is being
# forgotten at this moment may still write.
walks: Final = Table(
    "walks",
    metadata,
    Column("store_id", BYTEWISE, primary_key=True),
    Column("layout", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("misplaced", BigInteger, nullable=False),
    Column("rate", BigInteger, nullable=False),
    Column("looked", Double, nullable=False),
    Column("verified", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("partitions", LargeBinary, nullable=False),
)

# Work that was asked for: a row for each store that has to do it.
jobs: Final = Table(
    "jobs",
    metadata,
    Column("job_id", BYTEWISE, primary_key=True),
    Column("store_id", BYTEWISE, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", BYTEWISE, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("problems", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Index(None, "state", "store_id"),
    Index(None, "created"),
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
    _part_of("repositories.repository_id"),
    Column("bytes", BigInteger, nullable=False),
    Column("blobs", BigInteger, nullable=False),
    Column("tags", BigInteger, nullable=False),
    Column("pushed", Double),
)

# The distinct blobs that are linked from the repositories of a namespace.
namespace_blobs: Final = Table(
    "namespace_blobs",
    metadata,
    _part_of("namespaces.namespace_id"),
    Column("digest", BYTEWISE, primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# No index on what a pull writes: PostgreSQL then changes the row in place, or nearly.
pulls: Final = Table(
    "pulls",
    metadata,
    _part_of("repositories.repository_id"),
    Column("reference", BYTEWISE, primary_key=True),  # a tag, or a digest
    Column("pulled", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
