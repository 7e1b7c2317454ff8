"""Where the walk of each store stands, and work that was asked for. Older versions know neither."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables and what finds their rows."""
    op.create_table(
        "walks",
        sa.Column("store_id", BYTEWISE, nullable=False),
        sa.Column("layout", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("misplaced", sa.BigInteger(), nullable=False),
        sa.Column("rate", sa.BigInteger(), nullable=False),
        sa.Column("looked", sa.Double(), nullable=False),
        sa.Column("verified", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("partitions", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", name="pk_walks"),
    )
    op.create_table(
        "jobs",
        sa.Column("job_id", BYTEWISE, nullable=False),
        sa.Column("store_id", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", BYTEWISE, nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("moved", sa.BigInteger(), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "store_id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state_store_id", "jobs", ["state", "store_id"])
    op.create_index("ix_jobs_created", "jobs", ["created"])
