"""What pages of tags are sorted by and show of images. Adds only."""

from typing import Final

revision: Final = "0024"
down_revision: Final = "0023"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add nothing yet."""
