"""Webhooks and their deliveries. Adds only: older versions tell nobody."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0016"
down_revision: Final = "0015"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables and what finds their rows."""
    op.create_table(
        "hooks",
        sa.Column("hook_id", BYTEWISE, nullable=False),
        sa.Column("namespace", BYTEWISE),
        sa.Column("scope", BYTEWISE, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("url", "format", "kinds")),
        sa.Column("untagged", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("headers", "template")),
        sa.Column("settle", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("secret", "old_secret")),
        sa.Column("old_secret_until", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("public_url", "state", "reason")),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.Double()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hook_id", name="pk_hooks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_hooks_namespace_hook_id", "hooks", ["namespace", "hook_id"])
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("hook_id", BYTEWISE, nullable=False),
        sa.Column("event_id", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("repository", BYTEWISE, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double()),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["hook_id"], ["hooks.hook_id"], name="fk_deliveries_hook_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_hook_id_delivery_id", "deliveries", ["hook_id", "delivery_id"])
    op.create_index("ix_deliveries_created", "deliveries", ["created"])
    waiting = sa.text("state = 'waiting'")
    for name, columns in (
        ("ix_deliveries_waiting", ["hook_id", "repository", "created"]),
        ("ix_deliveries_due", ["hook_id", "next_at"]),
    ):
        op.create_index(name, "deliveries", columns, sqlite_where=waiting, postgresql_where=waiting)
