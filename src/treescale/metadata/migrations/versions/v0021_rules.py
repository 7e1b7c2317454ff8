"""Rules for tags. Adds only: servers of earlier versions know of none, and heed none."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0021"
down_revision: Final = "0020"
branch_labels: Final = None
depends_on: Final = None

ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table and what finds its rows."""
    op.create_table(
        "rules",
        sa.Column("rule_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", ROW_ID),
        sa.Column("repository_id", ROW_ID),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("may_delete", sa.Boolean(), nullable=False),
        sa.Column("may_expire", sa.Boolean(), nullable=False),
        sa.Column("keep_last", sa.BigInteger()),
        sa.Column("keep_pushed", sa.Double()),
        sa.Column("keep_pulled", sa.Double()),
        sa.Column("armed", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", name="pk_rules"),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.namespace_id"],
            name="fk_rules_namespace_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.repository_id"],
            name="fk_rules_repository_id",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_rules_repository_id_namespace_id", "rules", ["repository_id", "namespace_id"]
    )
    op.create_index("ix_rules_namespace_id", "rules", ["namespace_id"])
    op.create_index("ix_rules_armed", "rules", ["armed"])
