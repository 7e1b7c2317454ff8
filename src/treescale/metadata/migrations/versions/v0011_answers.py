"""On SQLite: what changes a row that answers are kept of is counted. Adds only.

By triggers, so servers of earlier versions count as well. Heartbeats, leases of the cluster,
sessions of uploads, counts of pulls and what a walk notes are in other tables: their commits leave
alone what workers remember. PostgreSQL has no number that can be read for nothing.
"""

from typing import Final

from alembic import op

revision: Final = "0011"
down_revision: Final = "0010"
branch_labels: Final = None
depends_on: Final = None

TABLES: Final = ("blobs", "manifests", "repositories", "repository_blobs", "settings", "tags")

_COUNT: Final = "BEGIN UPDATE counters SET value = value + 1 WHERE name = 'answers'; END"


def upgrade() -> None:
    """Add the number, and what counts it up."""
    if op.get_bind().dialect.name != "sqlite":
        return
    run = op.get_bind().exec_driver_sql
    run("INSERT INTO counters (name, value) VALUES ('answers', 1)")
    for table in TABLES:
        for change in ("insert", "update", "delete"):
            moment = f"AFTER {change.upper()} ON {table}"
            run(f"CREATE TRIGGER answers_{table}_{change} {moment} {_COUNT}")
