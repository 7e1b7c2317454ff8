"""Leases of background work, generations of subjects, lost chunks, addresses known by a login.

Older versions leave all of it alone: tables that they do not name, columns that may be NULL.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_IS_LOST: Final = sa.text("lost_since IS NOT NULL")


def upgrade() -> None:
    """Add the tables and columns."""
    _create_cluster_tables()
    _create_login_tables()
    _create_lost()
    op.add_column("servers", sa.Column("version", sa.Text()))
    op.add_column("servers", sa.Column("clock_error", sa.Double()))
    op.add_column("servers", sa.Column("unreached", sa.Text()))


def _create_cluster_tables() -> None:
    """Who does what for the cluster just now, and numbers that are given out once."""
    op.create_table(
        "leases",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "counters",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )


def _create_login_tables() -> None:
    """Add generations of subjects, and from where an account was logged in to lately."""
    op.create_table(
        "generations",
        sa.Column("subject", BYTEWISE, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_generations"),
    )
    op.create_index("ix_generations_generation", "generations", ["generation"])
    op.create_table(
        "known_addresses",
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("address", BYTEWISE, nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user_name", "address", name="pk_known_addresses"),
        sa.ForeignKeyConstraint(
            ["user_name"],
            ["users.name"],
            name="fk_known_addresses_user_name",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_known_addresses_seen", "known_addresses", ["seen"])


def _create_lost() -> None:
    """Chunks of which no good copy was found, and since when a blob lacks some."""
    op.create_table(
        "lost_chunks",
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", name="pk_lost_chunks"),
        sqlite_with_rowid=False,
    )
    op.add_column("blobs", sa.Column("lost_since", sa.Double()))
    op.create_index(
        "ix_blobs_lost_since",
        "blobs",
        ["lost_since"],
        sqlite_where=_IS_LOST,
        postgresql_where=_IS_LOST,
    )
