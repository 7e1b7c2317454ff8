"""What was pushed: repositories, blobs, manifests, tags, and uploads under way."""

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
    LargeBinary,
    Table,
    Text,
    false,
    text,
)

from treescale.metadata.schema.columns import BYTEWISE, ROW_ID, metadata, part_of

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
    # Of the repositories that come into being there.
    Column("visibility", Text, nullable=False, server_default="private"),
    # Of an organisation, by the database's clock.
    Column("created", Double),
    sqlite_autoincrement=True,
)

_IS_ORGANISATION: Final = text("kind = 'organisation'")
Index(
    "ix_namespaces_organisation",
    namespaces.c.name,
    sqlite_where=_IS_ORGANISATION,
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
    # For whoever is signed in; never of one that is public (a trigger sees to that).
    Column("internal", Boolean, nullable=False, server_default=false()),
    Index(None, "namespace", "name"),
    Index(None, "internal", "name"),
    Index(None, "public", "name"),
    Index(None, "namespace_id", "name"),
)
_IS_DELETED: Final = text("deleted IS NOT NULL")
Index(
    "ix_repositories_deleted",
    repositories.c.deleted,
    sqlite_where=_IS_DELETED,
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
    part_of("repositories.repository_id"),
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
    part_of("blobs.blob_id"),
    Column("chunk", LargeBinary, ForeignKey("chunks.chunk"), primary_key=True),
    Index(None, "chunk"),
    sqlite_with_rowid=False,
)

# Payload last: SQLite then reads the columns before it without touching a large row's other pages.
manifests: Final = Table(
    "manifests",
    metadata,
    part_of("repositories.repository_id"),
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
    Index(None, "digest", "repository_id"),
)
_IS_UNTAGGED: Final = text("untagged_since IS NOT NULL")
Index(
    "ix_manifests_untagged_since",
    manifests.c.untagged_since,
    manifests.c.repository_id,
    manifests.c.digest,
    sqlite_where=_IS_UNTAGGED,
)
Index(
    "ix_manifests_deleted",
    manifests.c.deleted,
    sqlite_where=_IS_DELETED,
)
_HAS_SUBJECT: Final = text("subject IS NOT NULL")
Index(
    "ix_manifests_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=_HAS_SUBJECT,
)
Index(
    "ix_manifests_subject_artifact_type",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.artifact_type,
    manifests.c.digest,
    sqlite_where=_HAS_SUBJECT,
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
    # Of the name (`oci.versions`); "" until it is known.
    Column("version_key", BYTEWISE, nullable=False, server_default=text("''")),
    ForeignKeyConstraint(
        ["repository_id", "digest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    Index(None, "repository_id", "digest"),
    Index(None, "repository_id", "version_key", "name"),
    Index(None, "repository_id", "updated", "name"),
    Index(None, "name", "repository_id"),
    sqlite_with_rowid=False,
)
_IS_UNKEYED: Final = text("version_key = ''")
Index(
    "ix_tags_unkeyed",
    tags.c.repository_id,
    tags.c.name,
    sqlite_where=_IS_UNKEYED,
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
