"""Robots, and whose ID tokens are believed. Adds only.

Version 0.1.0 and schema 0017 know nothing of them. When one of those removes a user, the robots of
her namespace go with her all the same: whoever gets the name later has none of them.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0018"
down_revision: Final = "0017"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REMOVE: Final = """
    DELETE FROM robots WHERE namespace_id IN (
        SELECT namespace_id FROM namespaces WHERE name = OLD.name AND kind <> 'organisation'
    );
"""
ON_SQLITE: Final = (
    f"""
CREATE TRIGGER users_robots AFTER DELETE ON users BEGIN
{REMOVE}
END
""",
)
ON_POSTGRESQL: Final = (
    f"""
CREATE FUNCTION users_robots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{REMOVE}
    RETURN NULL;
END
$$
""",
    """
CREATE TRIGGER users_robots AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION users_robots()
""",
)


def upgrade() -> None:
    """Add the tables, what finds their rows, and what removes them beside older versions."""
    _robots()
    _keyless()
    for table, columns in (
        ("trust_rules", ["robot_id", "rule_id"]),
        ("trust_rules", ["issuer", "robot_id"]),
        ("robot_secrets", ["robot_id", "created"]),
        ("robot_secrets", ["rule_id"]),
        ("id_token_uses", ["robot_id"]),
        ("id_token_uses", ["expires"]),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in ON_SQLITE if is_sqlite else ON_POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def _robots() -> None:
    op.create_table(
        "robots",
        sa.Column("robot_id", BYTEWISE, nullable=False),
        sa.Column("namespace_id", ROW_ID, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("allow", sa.Text(), nullable=False),
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("last_used", sa.Double()),
        sa.Column("last_address", sa.Text()),
        sa.PrimaryKeyConstraint("robot_id", name="pk_robots"),
        _goes_with("robots", "namespace_id", "namespaces"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_robots_namespace_id_name", "robots", ["namespace_id", "name"], unique=True)


def _keyless() -> None:
    op.create_table(
        "issuers",
        sa.Column("issuer", BYTEWISE, nullable=False),
        sa.Column("jwks", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", name="pk_issuers"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trust_rules",
        sa.Column("rule_id", BYTEWISE, nullable=False),
        sa.Column("robot_id", BYTEWISE, nullable=False),
        sa.Column("issuer", BYTEWISE, nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", name="pk_trust_rules"),
        _goes_with("trust_rules", "robot_id", "robots"),
        _goes_with("trust_rules", "issuer", "issuers"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "robot_secrets",
        sa.Column("secret_sha256", BYTEWISE, nullable=False),
        sa.Column("robot_id", BYTEWISE, nullable=False),
        sa.Column("rule_id", BYTEWISE),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.PrimaryKeyConstraint("secret_sha256", name="pk_robot_secrets"),
        _goes_with("robot_secrets", "robot_id", "robots"),
        _goes_with("robot_secrets", "rule_id", "trust_rules"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "id_token_uses",
        sa.Column("fingerprint", BYTEWISE, nullable=False),
        sa.Column("robot_id", BYTEWISE, nullable=False),
        sa.Column("exchanged", sa.Boolean(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_id_token_uses"),
        _goes_with("id_token_uses", "robot_id", "robots"),
        sqlite_with_rowid=False,
    )


def _goes_with(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.{column}"], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )
