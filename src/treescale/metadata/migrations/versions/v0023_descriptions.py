"""What repositories and namespaces say of themselves. Adds only."""

from typing import Final

revision: Final = "0023"
down_revision: Final = "0022"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add nothing yet."""
