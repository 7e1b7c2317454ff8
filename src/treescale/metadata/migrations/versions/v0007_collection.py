"""What is deleted waits, links and manifests have leases, tags know who pushed them. Adds only.

Links of before keep the times they have: each is looked at once when its own is over.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns, what finds their rows, and deleted tags."""
    op.add_column("repositories", sa.Column("deleted", sa.Double()))
    op.add_column("repository_blobs", sa.Column("hidden", sa.Double()))
    for column in (
        sa.Column("deleted", sa.Double()),
        sa.Column("lease_until", sa.Double()),
        sa.Column("pushed_by", sa.Text()),
    ):
        op.add_column("manifests", column)
    op.add_column("tags", sa.Column("pushed_by", sa.Text()))
    _partial_index("ix_repositories_deleted", "repositories", "deleted", "deleted IS NOT NULL")
    _partial_index("ix_manifests_deleted", "manifests", "deleted", "deleted IS NOT NULL")
    _partial_index(
        "ix_repository_blobs_lease_until", "repository_blobs", "lease_until", "lease_until >= 0"
    )
    op.create_table(
        "deleted_tags",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("pushed_by", sa.Text()),
        sa.Column("deleted", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", "digest", name="pk_deleted_tags"),
        sa.ForeignKeyConstraint(
            ["repository_id", "digest"],
            ["manifests.repository_id", "manifests.digest"],
            name="fk_deleted_tags_repository_id_digest",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_deleted_tags_repository_id_digest", "deleted_tags", ["repository_id", "digest"]
    )
    op.create_index("ix_deleted_tags_deleted", "deleted_tags", ["deleted"])


def _partial_index(name: str, table: str, column: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, [column], sqlite_where=condition, postgresql_where=condition)
