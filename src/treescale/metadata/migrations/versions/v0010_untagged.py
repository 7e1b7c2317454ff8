"""Since when nothing holds a manifest: no tag, no index, no subject. Adds only."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0010"
down_revision: Final = "0009"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the column, and what finds those it says something of."""
    op.add_column("manifests", sa.Column("untagged_since", sa.Double()))
    condition = sa.text("untagged_since IS NOT NULL")
    op.create_index(
        "ix_manifests_untagged_since",
        "manifests",
        ["untagged_since", "repository_id", "digest"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
