"""Namespaces have ids, sizes are kept, pulls are counted. Adds only, and counts nothing yet.

Triggers write down what changes, so servers of earlier versions count as well: whatever they do to
a link, a tag or a repository is in `usage_changes`. What was there before is counted by
`usage.counting` once servers run, repository by repository; nothing waits for that here.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0009"
down_revision: Final = "0008"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, the column, and what writes changes down."""
    _namespaces()
    _usage()
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _ON_SQLITE if on_sqlite else _ON_POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def _namespaces() -> None:
    op.create_table(
        "namespaces",
        sa.Column("namespace_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), server_default="user", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blobs", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", name="pk_namespaces"),
        sa.UniqueConstraint("name", name="uq_namespaces_name"),
        sqlite_autoincrement=True,
    )
    # In SQL: Alembic would add the constraint afterwards, which SQLite does not know.
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE repositories ADD COLUMN namespace_id {kind} CONSTRAINT "
        "fk_repositories_namespace_id REFERENCES namespaces (namespace_id)"
    )
    op.create_index("ix_repositories_namespace_id_name", "repositories", ["namespace_id", "name"])
    op.create_table(
        "namespace_blobs",
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "digest", name="pk_namespace_blobs"),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.namespace_id"],
            name="fk_namespace_blobs_namespace_id",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )


def _usage() -> None:
    op.create_table(
        "usage_changes",
        sa.Column("change_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", sa.BigInteger()),
        sa.Column("namespace_id", sa.BigInteger()),
        sa.Column("digest", BYTEWISE),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blobs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tags", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pushed", sa.Double()),
        sa.Column("links_after", BYTEWISE),
        sa.PrimaryKeyConstraint("change_id", name="pk_usage_changes"),
    )
    op.create_index("ix_usage_changes_repository_id", "usage_changes", ["repository_id"])
    op.create_table(
        "repository_usage",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("blobs", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.BigInteger(), nullable=False),
        sa.Column("pushed", sa.Double()),
        sa.PrimaryKeyConstraint("repository_id", name="pk_repository_usage"),
        _of_repository("repository_usage"),
    )
    op.create_table(
        "pulls",
        sa.Column("repository_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("reference", BYTEWISE, nullable=False),
        sa.Column("pulled", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "reference", name="pk_pulls"),
        _of_repository("pulls"),
        sqlite_with_rowid=False,
    )


def _of_repository(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["repository_id"],
        ["repositories.repository_id"],
        name=f"fk_{table}_repository_id",
        ondelete="CASCADE",
    )


_LINK: Final = """
INSERT INTO usage_changes (repository_id, namespace_id, digest, bytes, blobs) VALUES (
    ROW.repository_id,
    (SELECT namespace_id FROM repositories WHERE repository_id = ROW.repository_id),
    ROW.digest,
    SIGN (SELECT size FROM blobs WHERE blob_id = ROW.blob_id),
    SIGN 1
);
"""
_ADDED: Final = _LINK.replace("ROW", "NEW").replace("SIGN", "+")
_TAKEN: Final = _LINK.replace("ROW", "OLD").replace("SIGN", "-")
_TAG_NEW: Final = (
    "INSERT INTO usage_changes (repository_id, tags, pushed) "
    "VALUES (NEW.repository_id, 1, NEW.updated);"
)
_TAG_MOVED: Final = (
    "INSERT INTO usage_changes (repository_id, pushed) VALUES (NEW.repository_id, NEW.updated);"
)
_TAG_GONE: Final = "INSERT INTO usage_changes (repository_id, tags) VALUES (OLD.repository_id, -1);"
_MOVED: Final = (
    "INSERT INTO usage_changes (repository_id, namespace_id, links_after) "
    "VALUES (NEW.repository_id, NEW.namespace_id, '');"
)
_MOVED_FROM: Final = (
    "INSERT INTO usage_changes (repository_id, namespace_id, links_after) "
    "SELECT OLD.repository_id, OLD.namespace_id, '' WHERE OLD.namespace_id <> NEW.namespace_id;"
)
# The repository's row goes before its links do: they could not tell its namespace any more.
_REPOSITORY_GONE: Final = (
    "INSERT INTO usage_changes (namespace_id, digest) SELECT OLD.namespace_id, digest "
    "FROM repository_blobs WHERE repository_id = OLD.repository_id;"
)
_SHOWN: Final = "(OLD.hidden IS NULL) <> (NEW.hidden IS NULL)"
_LIVES: Final = "(OLD.deleted IS NULL) <> (NEW.deleted IS NULL)"
_TRIGGERS: Final = (
    ("link_added", "AFTER INSERT ON repository_blobs", "NEW.hidden IS NULL", _ADDED),
    (
        "link_shown",
        "AFTER UPDATE OF hidden ON repository_blobs",
        f"{_SHOWN} AND NEW.hidden IS NULL",
        _ADDED,
    ),
    (
        "link_hidden",
        "AFTER UPDATE OF hidden ON repository_blobs",
        f"{_SHOWN} AND OLD.hidden IS NULL",
        _TAKEN,
    ),
    ("link_taken", "AFTER DELETE ON repository_blobs", "OLD.hidden IS NULL", _TAKEN),
    ("tag_new", "AFTER INSERT ON tags", "", _TAG_NEW),
    ("tag_moved", "AFTER UPDATE OF updated ON tags", "", _TAG_MOVED),
    ("tag_gone", "AFTER DELETE ON tags", "", _TAG_GONE),
    (
        "repository_moved",
        "AFTER UPDATE OF namespace_id, deleted ON repositories",
        f"{_LIVES} OR coalesce(OLD.namespace_id, 0) <> coalesce(NEW.namespace_id, 0)",
        _MOVED + _MOVED_FROM,
    ),
    ("repository_gone", "BEFORE DELETE ON repositories", "", _REPOSITORY_GONE),
)


def _on_sqlite(name: str, moment: str, condition: str, does: str) -> str:
    when = f" WHEN {condition}" if condition else ""
    return f"CREATE TRIGGER usage_{name} {moment} FOR EACH ROW{when} BEGIN {does} END"


def _on_postgresql(name: str, moment: str, condition: str, does: str) -> tuple[str, str]:
    when = f" WHEN ({condition})" if condition else ""
    result = "OLD" if moment.startswith("BEFORE") else "NULL"
    body = f"BEGIN {does} RETURN {result}; END"
    return (
        f"CREATE FUNCTION usage_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"CREATE TRIGGER usage_{name} {moment} FOR EACH ROW{when} EXECUTE FUNCTION usage_{name}()",
    )


_ON_SQLITE: Final = [_on_sqlite(*each) for each in _TRIGGERS]
_ON_POSTGRESQL: Final = [step for each in _TRIGGERS for step in _on_postgresql(*each)]
