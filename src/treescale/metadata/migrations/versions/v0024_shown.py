"""What pages of tags are sorted by, and what finds a tag, an image, a tag's past. Adds only.

A tag that a server of an earlier version makes has no key yet ("" is none's): it is found by that,
and given one within a minute (`metadata.shown.tag_keys`).
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0024"
down_revision: Final = "0023"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
INDEXES: Final = (
    ("ix_tags_repository_id_version_key_name", "tags", ["repository_id", "version_key", "name"]),
    ("ix_tags_repository_id_updated_name", "tags", ["repository_id", "updated", "name"]),
    ("ix_tags_name_repository_id", "tags", ["name", "repository_id"]),
    ("ix_manifests_digest_repository_id", "manifests", ["digest", "repository_id"]),
    ("ix_repository_usage_pushed", "repository_usage", ["pushed"]),
)
PARTIAL: Final = (
    ("ix_tags_unkeyed", "tags", ["repository_id", "name"], "version_key = ''"),
    (
        "ix_events_reference",
        "events",
        ["repository", "reference", "at"],
        "reference IS NOT NULL",
    ),
)


def upgrade() -> None:
    """Add the column, and the indexes."""
    op.add_column(
        "tags", sa.Column("version_key", BYTEWISE, nullable=False, server_default=sa.text("''"))
    )
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)
    for name, table, columns, where in PARTIAL:
        condition = sa.text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
