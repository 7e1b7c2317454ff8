"""To be filled in. Adds only."""

from typing import Final

revision: Final = "0018"
down_revision: Final = "0017"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add nothing yet."""
