"""What happened. Older versions leave the table alone: what they do is not in it."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table and what finds its rows."""
    op.create_table(
        "events",
        sa.Column("event_id", BYTEWISE, nullable=False),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("namespace", BYTEWISE),
        sa.Column("repository", BYTEWISE),
        sa.Column("reference", BYTEWISE),
        sa.Column("digest", BYTEWISE),
        sa.Column("previous_digest", BYTEWISE),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_events_sequence", "events", ["sequence"])
    op.create_index("ix_events_at", "events", ["at"])
