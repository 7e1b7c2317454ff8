"""What was deleted can be purged at once: a fence that no push passes meanwhile. Adds only."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0008"
down_revision: Final = "0007"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables, which are empty as long as nobody purges anything."""
    op.create_table(
        "purges",
        sa.Column("purge_id", BYTEWISE, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("begun", sa.Double(), nullable=False),
        sa.Column("ready", sa.Double()),
        sa.Column("gone", sa.Double()),
        sa.Column("number", sa.BigInteger()),
        sa.PrimaryKeyConstraint("purge_id", name="pk_purges"),
    )
    op.create_table(
        "purged_chunks",
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.Column("purge_id", BYTEWISE, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", name="pk_purged_chunks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_purged_chunks_purge_id_chunk", "purged_chunks", ["purge_id", "chunk"])
    op.create_table(
        "purge_stores",
        sa.Column("purge_id", BYTEWISE, nullable=False),
        sa.Column("store_id", BYTEWISE, nullable=False),
        sa.Column("rounds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("purge_id", "store_id", name="pk_purge_stores"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_purge_stores_store_id", "purge_stores", ["store_id"])
