"""How far a store is with a purge, and when it noted that. Adds only.

Beside the store's rounds: among the settings each note emptied what workers remember.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0012"
down_revision: Final = "0011"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("purge_stores", sa.Column("looked", sa.BigInteger()))
    op.add_column("purge_stores", sa.Column("noted", sa.Double()))
