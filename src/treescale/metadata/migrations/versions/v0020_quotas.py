"""What namespaces may have, and had each month. Adds only, and writes nothing while nobody does.

Triggers see to what servers of earlier versions do. A namespace that comes into being gets the
cluster's limits, if there are any. What takes the last link or manifest of a digest away writes
that into `usage_changes`, where the namespace has limits; a repository that gets another namespace
has both counted anew.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0020"
down_revision: Final = "0019"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, and what keeps them right beside earlier versions."""
    _quotas()
    _months()
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _ON_SQLITE if on_sqlite else _ON_POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def _quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("own_bytes", sa.BigInteger()),
        sa.Column("own_repositories", sa.BigInteger()),
        sa.Column("own_tags", sa.BigInteger()),
        sa.Column("limit_bytes", sa.BigInteger()),
        sa.Column("limit_repositories", sa.BigInteger()),
        sa.Column("limit_tags", sa.BigInteger()),
        sa.Column("used", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("told", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("waiting", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("weighed", sa.Double(), nullable=False, server_default="0"),
        sa.Column("recount", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.PrimaryKeyConstraint("namespace_id", name="pk_quotas"),
        _of_namespace("quotas", "namespaces"),
    )
    for name, column, where in (
        ("told", "told", "told > 0"),
        ("recount", "namespace_id", "recount"),
    ):
        condition = sa.text(where)
        op.create_index(
            f"ix_quotas_{name}",
            "quotas",
            [column],
            sqlite_where=condition,
            postgresql_where=condition,
        )
    op.create_table(
        "quota_blobs",
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "digest", name="pk_quota_blobs"),
        _of_namespace("quota_blobs", "quotas"),
        sqlite_with_rowid=False,
    )


def _months() -> None:
    op.create_table(
        "namespace_months",
        sa.Column("month", BYTEWISE, nullable=False),
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("byte_seconds", sa.Double(), nullable=False, server_default="0"),
        sa.Column("bytes_max", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("pulled_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("pulls", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("sampled", sa.Double(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("month", "namespace_id", name="pk_namespace_months"),
        _of_namespace("namespace_months", "namespaces"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_namespace_months_namespace_id", "namespace_months", ["namespace_id"])


def _of_namespace(table: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["namespace_id"],
        [f"{target}.namespace_id"],
        name=f"fk_{table}_namespace_id",
        ondelete="CASCADE",
    )


# The cluster's limits: settings whose values are digits. Any other text, written by hand, is none.
_SETTINGS: Final = ("quota", "repositories-max", "tags-max")
_IS_NUMBER_ON_SQLITE: Final = "value <> '' AND length(value) < 19 AND value NOT GLOB '*[^0-9]*'"
_IS_NUMBER_ON_POSTGRESQL: Final = "value ~ '^[0-9]{1,18}$'"


def _begin(is_number: str) -> str:
    values = ", ".join(
        f"(SELECT CASE WHEN {is_number} THEN CAST(value AS BIGINT) END "  # noqa: S608  constants
        f"FROM settings WHERE name = '{name}')"
        for name in _SETTINGS
    )
    names = ", ".join(f"'{name}'" for name in _SETTINGS)
    return (
        "INSERT INTO quotas (namespace_id, limit_bytes, limit_repositories, limit_tags) "  # noqa: S608  likewise
        f"SELECT NEW.namespace_id, {values} "
        f"WHERE EXISTS (SELECT 1 FROM settings WHERE name IN ({names}) AND {is_number});"
    )


_GONE: Final = (
    "INSERT INTO usage_changes (namespace_id, digest) "
    "SELECT r.namespace_id, OLD.digest FROM repositories r "
    "JOIN quotas q ON q.namespace_id = r.namespace_id WHERE r.repository_id = OLD.repository_id;"
)
_ALL_GONE: Final = (
    "INSERT INTO usage_changes (namespace_id, digest) SELECT OLD.namespace_id, m.digest "
    "FROM manifests m JOIN quotas q ON q.namespace_id = OLD.namespace_id "
    "WHERE m.repository_id = OLD.repository_id;"
)
_MOVED: Final = (
    "INSERT INTO usage_changes (namespace_id) SELECT q.namespace_id FROM quotas q "
    "WHERE q.namespace_id IN (OLD.namespace_id, NEW.namespace_id);"
)
_TRIGGERS: Final = (
    ("link_gone", "AFTER DELETE ON repository_blobs", "OLD.hidden IS NOT NULL", _GONE),
    ("manifest_gone", "AFTER DELETE ON manifests", "", _GONE),
    ("repository_gone", "BEFORE DELETE ON repositories", "", _ALL_GONE),
    (
        "repository_moved",
        "AFTER UPDATE OF namespace_id ON repositories",
        "coalesce(OLD.namespace_id, 0) <> coalesce(NEW.namespace_id, 0)",
        _MOVED,
    ),
)


def _on_sqlite(name: str, moment: str, condition: str, does: str) -> str:
    when = f" WHEN {condition}" if condition else ""
    return f"CREATE TRIGGER quota_{name} {moment} FOR EACH ROW{when} BEGIN {does} END"


def _on_postgresql(name: str, moment: str, condition: str, does: str) -> tuple[str, str]:
    when = f" WHEN ({condition})" if condition else ""
    result = "OLD" if moment.startswith("BEFORE") else "NULL"
    body = f"BEGIN {does} RETURN {result}; END"
    return (
        f"CREATE FUNCTION quota_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"CREATE TRIGGER quota_{name} {moment} FOR EACH ROW{when} EXECUTE FUNCTION quota_{name}()",
    )


_BEGUN: Final = ("begun", "AFTER INSERT ON namespaces", "")
_ON_SQLITE: Final = [
    _on_sqlite(*_BEGUN, _begin(_IS_NUMBER_ON_SQLITE)),
    *(_on_sqlite(*each) for each in _TRIGGERS),
]
_ON_POSTGRESQL: Final = [
    step
    for each in ((*_BEGUN, _begin(_IS_NUMBER_ON_POSTGRESQL)), *_TRIGGERS)
    for step in _on_postgresql(*each)
]
