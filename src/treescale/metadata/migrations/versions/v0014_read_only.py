"""Whether a namespace or a repository is read-only. Adds only.

Of the cluster it is a setting.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0014"
down_revision: Final = "0013"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("namespaces", "repositories"):
        op.add_column(
            table, sa.Column("read_only", sa.Boolean(), nullable=False, server_default=sa.false())
        )
