"""Many servers: who they are, what their stores say, layouts, copies owed, peer keys."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what a cluster needs; stores that are there keep their labels and are active."""
    _create_servers()
    _extend_stores()
    _create_layouts()


def _create_servers() -> None:
    """Servers, and the keys by which they know each other."""
    op.create_table(
        "servers",
        sa.Column("server_id", BYTEWISE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("server_id", name="pk_servers"),
    )
    op.create_table(
        "peer_keys",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_peer_keys"),
    )


def _extend_stores() -> None:
    """Whose a store is, what is wanted of it, and what its server says."""
    for column in (
        sa.Column("server_id", BYTEWISE, nullable=False, server_default=sa.text("''")),
        sa.Column("state", sa.Text(), nullable=False, server_default="active"),
        sa.Column("seen", sa.Double(), nullable=False, server_default="0"),
        sa.Column("bytes_total", sa.BigInteger()),
        sa.Column("bytes_free", sa.BigInteger()),
        sa.Column("trouble", sa.Text(), nullable=False, server_default=sa.text("''")),
    ):
        op.add_column("stores", column)


def _create_layouts() -> None:
    """Layouts, and the copies that their homes have yet to get."""
    op.create_table(
        "layouts",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("stores", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_layouts"),
    )
    op.create_table(
        "owed",
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.Column("store_id", BYTEWISE, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", "store_id", name="pk_owed"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_owed_store_id_chunk", "owed", ["store_id", "chunk"])
