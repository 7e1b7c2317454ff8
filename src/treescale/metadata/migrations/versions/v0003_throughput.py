"""What passes through each server. A version that does not know the columns leaves them alone."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add bytes per second, unknown until a server says them."""
    for name in ("to_clients", "from_clients", "to_servers", "from_servers"):
        op.add_column("servers", sa.Column(name, sa.BigInteger()))
