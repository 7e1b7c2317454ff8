"""When the certificate of each server ends, as it says with its heartbeat. Adds only."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0013"
down_revision: Final = "0012"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("servers", sa.Column("certificate_expires", sa.Double()))
