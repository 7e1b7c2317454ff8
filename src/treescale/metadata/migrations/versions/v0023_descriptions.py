"""What repositories and namespaces say of themselves. Adds only: earlier servers know of none."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0023"
down_revision: Final = "0022"
branch_labels: Final = None
depends_on: Final = None

ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OF: Final = (
    ("repository_descriptions", "repositories", "repository_id"),
    ("namespace_descriptions", "namespaces", "namespace_id"),
)


def upgrade() -> None:
    """Add the tables."""
    for table, of, key in OF:
        op.create_table(
            table,
            sa.Column(key, ROW_ID, autoincrement=False, nullable=False),
            sa.Column("text", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint(key, name=f"pk_{table}"),
            sa.ForeignKeyConstraint(
                [key], [f"{of}.{key}"], name=f"fk_{table}_{key}", ondelete="CASCADE"
            ),
        )
