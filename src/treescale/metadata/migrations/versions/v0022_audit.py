"""Events have the address of the client, and are found by namespace and time. Adds only.

Servers of before write no address, and take whatever is pruned from the log away for good.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0022"
down_revision: Final = "0021"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the columns and the index."""
    op.add_column("events", sa.Column("address", sa.Text()))
    op.create_index("ix_events_namespace_at", "events", ["namespace", "at"])
    op.add_column(
        "event_groups", sa.Column("audience", sa.Text(), nullable=False, server_default="owner")
    )
