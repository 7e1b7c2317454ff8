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
    text,
)
from sqlalchemy.dialects import postgresql

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

repositories: Final = Table(
    "repositories",
    metadata,
    Column("repository_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("name", BYTEWISE, nullable=False, unique=True),
    Column("namespace", BYTEWISE, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Index(None, "namespace", "name"),
    Index(None, "public", "name"),
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("blob_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("digest", BYTEWISE, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("inline", LargeBinary),
    Column("recipe", LargeBinary),
    CheckConstraint("(inline IS NULL) <> (recipe IS NULL)", name="either"),
)

repository_blobs: Final = Table(
    "repository_blobs",
    metadata,
    Column(
        "repository_id",
        ROW_ID,
        ForeignKey("repositories.repository_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # The blob's digest again, so that one index finds a link and lists links in order.
    Column("digest", BYTEWISE, primary_key=True),
    Column("blob_id", ROW_ID, ForeignKey("blobs.blob_id"), nullable=False),
    Column("lease_until", Double, nullable=False),
    Index(None, "blob_id"),
    sqlite_with_rowid=False,
)

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
    Column(
        "blob_id",
        ROW_ID,
        ForeignKey("blobs.blob_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("chunk", LargeBinary, ForeignKey("chunks.chunk"), primary_key=True),
    Index(None, "chunk"),
    sqlite_with_rowid=False,
)

# Payload last: SQLite then reads the columns before it without touching a large row's other pages.
manifests: Final = Table(
    "manifests",
    metadata,
    Column(
        "repository_id",
        ROW_ID,
        ForeignKey("repositories.repository_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("digest", BYTEWISE, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("subject", BYTEWISE),
    Column("artifact_type", BYTEWISE),
    Column("annotations_bytes", BigInteger, nullable=False),
    Column("pushed", Double, nullable=False),
    Column("annotations", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
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
    ForeignKeyConstraint(
        ["repository_id", "digest"],
        ["manifests.repository_id", "manifests.digest"],
        ondelete="CASCADE",
    ),
    Index(None, "repository_id", "digest"),
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
