"""The first schema: accounts, blobs and chunks, manifests and tags, uploads."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None

# Said again here, not imported: a migration stays as it is when the schema goes on.
BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of a fresh database."""
    _create_accounts()
    _create_cluster()
    _create_blobs()
    _create_chunks()
    _create_manifests()
    _create_tags()
    _create_uploads()


def _create_accounts() -> None:
    """Users and their access tokens."""
    op.create_table(
        "users",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "access_tokens",
        sa.Column("token_id", BYTEWISE, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("secret_sha256", BYTEWISE, nullable=False),
        sa.Column("allow", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.Column("last_used", sa.Double()),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_access_tokens_user_name", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_id", name="pk_access_tokens"),
        sa.UniqueConstraint("secret_sha256", name="uq_access_tokens_secret_sha256"),
    )
    op.create_index(
        "ix_access_tokens_user_name_created_token_id",
        "access_tokens",
        ["user_name", "created", "token_id"],
    )


def _create_cluster() -> None:
    """Keys, revocations, settings and stores: shared by the servers."""
    op.create_table(
        "signing_keys",
        sa.Column("key_id", BYTEWISE, nullable=False),
        sa.Column("private_pem", sa.Text(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("retire_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_signing_keys"),
    )
    op.create_table(
        "revocations",
        sa.Column("subject", BYTEWISE, nullable=False),
        sa.Column("revoked", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_revocations"),
    )
    op.create_index("ix_revocations_revoked_subject", "revocations", ["revoked", "subject"])
    op.create_table(
        "settings",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    op.create_table(
        "stores",
        sa.Column("store_id", BYTEWISE, nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("registered", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="pk_stores"),
    )


def _create_blobs() -> None:
    """Blobs and the repositories they are linked to."""
    op.create_table(
        "repositories",
        sa.Column("repository_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("namespace", BYTEWISE, nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", name="pk_repositories"),
        sa.UniqueConstraint("name", name="uq_repositories_name"),
    )
    op.create_index("ix_repositories_namespace_name", "repositories", ["namespace", "name"])
    op.create_index("ix_repositories_public_name", "repositories", ["public", "name"])
    op.create_table(
        "blobs",
        sa.Column("blob_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("inline", sa.LargeBinary()),
        sa.Column("recipe", sa.LargeBinary()),
        sa.CheckConstraint("(inline IS NULL) <> (recipe IS NULL)", name="ck_blobs_either"),
        sa.PrimaryKeyConstraint("blob_id", name="pk_blobs"),
        sa.UniqueConstraint("digest", name="uq_blobs_digest"),
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("blob_id", ROW_ID, nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.blob_id"], name="fk_repository_blobs_blob_id"),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.repository_id"],
            name="fk_repository_blobs_repository_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_repository_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_repository_blobs_blob_id", "repository_blobs", ["blob_id"])


def _create_chunks() -> None:
    """Chunks, and which blob is made of which."""
    op.create_table(
        "chunks",
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", name="pk_chunks"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob_chunks",
        sa.Column("blob_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["blob_id"], ["blobs.blob_id"], name="fk_blob_chunks_blob_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["chunk"], ["chunks.chunk"], name="fk_blob_chunks_chunk"),
        sa.PrimaryKeyConstraint("blob_id", "chunk", name="pk_blob_chunks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_blob_chunks_chunk", "blob_chunks", ["chunk"])


def _create_manifests() -> None:
    """Manifests, and the indexes their referrers are listed by."""
    op.create_table(
        "manifests",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("subject", BYTEWISE),
        sa.Column("artifact_type", BYTEWISE),
        sa.Column("annotations_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pushed", sa.Double(), nullable=False),
        sa.Column("annotations", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.repository_id"],
            name="fk_manifests_repository_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_manifests"),
    )
    op.create_index(
        "ix_manifests_subject",
        "manifests",
        ["repository_id", "subject", "digest"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_index(
        "ix_manifests_subject_artifact_type",
        "manifests",
        ["repository_id", "subject", "artifact_type", "digest"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )


def _create_tags() -> None:
    """Create manifest references, and the tags that point at manifests."""
    op.create_table(
        "manifest_references",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("manifest", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id", "manifest"],
            ["manifests.repository_id", "manifests.digest"],
            name="fk_manifest_references_repository_id_manifest",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "repository_id", "manifest", "digest", name="pk_manifest_references"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_manifest_references_repository_id_digest",
        "manifest_references",
        ["repository_id", "digest"],
    )
    op.create_table(
        "tags",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id", "digest"],
            ["manifests.repository_id", "manifests.digest"],
            name="fk_tags_repository_id_digest",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_repository_id_digest", "tags", ["repository_id", "digest"])


def _create_uploads() -> None:
    """Upload sessions."""
    op.create_table(
        "uploads",
        sa.Column("upload_id", BYTEWISE, nullable=False),
        sa.Column("repository", BYTEWISE, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("hashed", sa.Text(), nullable=False),
        sa.Column("settled_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.BigInteger(), nullable=False),
        sa.Column("tail_chunk", sa.LargeBinary()),
        sa.Column("tail_chunk_length", sa.BigInteger()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("tail_inline", sa.LargeBinary()),
        sa.CheckConstraint("(tail_inline IS NULL) <> (tail_chunk IS NULL)", name="ck_uploads_tail"),
        sa.PrimaryKeyConstraint("upload_id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_updated", "uploads", ["updated"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", BYTEWISE, nullable=False),
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["uploads.upload_id"],
            name="fk_upload_parts_upload_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "part", name="pk_upload_parts"),
    )
