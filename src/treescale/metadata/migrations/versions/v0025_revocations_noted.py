"""Which revocations have a number: what 0.1.0 adds is found among any number of them. Adds only."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0025"
down_revision: Final = "0024"
branch_labels: Final = None
depends_on: Final = None

UNNOTED: Final = sa.text("noted IS NULL OR noted <> revoked")
NOTE: Final = sa.text(
    "UPDATE revocations SET noted = (SELECT changed FROM generations "
    "WHERE generations.subject = revocations.subject)"
)


def upgrade() -> None:
    """Add the column, as the times in `generations` have it, and the index."""
    op.add_column("revocations", sa.Column("noted", sa.Double))
    op.execute(NOTE)
    op.create_index(
        "ix_revocations_unnoted",
        "revocations",
        ["subject"],
        sqlite_where=UNNOTED,
        postgresql_where=UNNOTED,
    )
