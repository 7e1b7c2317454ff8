"""Events have their sequence, and groups of consumers read them. Adds only.

On SQLite, whose writers are alone, a trigger numbers a row as it is inserted, whatever version
inserts it. On PostgreSQL that would be wrong: a transaction that began earlier may commit later,
and a reader has then passed its number (`metadata/events/log.py`).
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0015"
down_revision: Final = "0014"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBERED: Final = """
UPDATE events SET sequence = one.number FROM (
    SELECT event_id, row_number() OVER (ORDER BY at, event_id) AS number FROM events
) AS one WHERE one.event_id = events.event_id
"""
COUNTED: Final = """
INSERT INTO counters (name, value)
SELECT 'events', max(sequence) FROM events HAVING max(sequence) IS NOT NULL
"""
NUMBER: Final = """
CREATE TRIGGER events_number AFTER INSERT ON events WHEN NEW.sequence IS NULL BEGIN
    INSERT INTO counters (name, value) VALUES ('events', 1)
        ON CONFLICT (name) DO UPDATE SET value = value + 1;
    UPDATE events SET sequence = (SELECT value FROM counters WHERE name = 'events')
        WHERE event_id = NEW.event_id;
END
"""
# As `metadata/events/log.py` does it on SQLite, in one exchange with the database. Each statement
# sees what has committed when it begins: also what did while the first one waited.
NUMBER_WAITING: Final = """
CREATE FUNCTION events_number(at_most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    drawn bigint;
    numbered bigint;
BEGIN
    INSERT INTO counters (name, value) VALUES ('events', 0)
        ON CONFLICT (name) DO UPDATE SET value = counters.value RETURNING value INTO drawn;
    UPDATE events SET sequence = drawn + one.number FROM (
        SELECT event_id, row_number() OVER (ORDER BY at, event_id) AS number FROM (
            SELECT event_id, at FROM events WHERE sequence IS NULL
            ORDER BY sequence, at, event_id LIMIT at_most
        ) AS page
    ) AS one WHERE one.event_id = events.event_id AND events.sequence IS NULL;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    IF numbered > 0 THEN
        UPDATE counters SET value = value + numbered WHERE name = 'events';
    END IF;
    RETURN numbered;
END
$$
"""


def upgrade() -> None:
    """Give numbers to what is there, and add the tables of the groups."""
    run = op.get_bind().exec_driver_sql
    run(NUMBERED)
    run(COUNTED)
    run(NUMBER if op.get_bind().dialect.name == "sqlite" else NUMBER_WAITING)
    op.create_table(
        "event_groups",
        sa.Column("group_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", ROW_ID, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name="pk_event_groups"),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.namespace_id"],
            name="fk_event_groups_namespace_id",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_event_groups_namespace_id_name", "event_groups", ["namespace_id", "name"], unique=True
    )
    op.create_table(
        "event_leases",
        sa.Column("group_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "sequence", name="pk_event_leases"),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["event_groups.group_id"],
            name="fk_event_leases_group_id",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
