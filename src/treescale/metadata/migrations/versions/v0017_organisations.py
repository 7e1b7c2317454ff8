"""Organisations, roles, and repositories for whoever is signed in. Adds only.

Version 0.1.0 knows nothing of it, and two things must be as it thinks. A user whom it adds does
not get an organisation's name: for it the name is taken. A repository that it opens to all, and
closes again, is private, not internal.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0017"
down_revision: Final = "0016"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ON_SQLITE: Final = (
    """
CREATE TRIGGER users_name BEFORE INSERT ON users
WHEN EXISTS (SELECT 1 FROM namespaces WHERE name = NEW.name AND kind = 'organisation') BEGIN
    SELECT RAISE(IGNORE);
END
""",
    """
CREATE TRIGGER repositories_public AFTER UPDATE OF public ON repositories
WHEN NEW.public AND NEW.internal BEGIN
    UPDATE repositories SET internal = 0 WHERE repository_id = NEW.repository_id;
END
""",
)
ON_POSTGRESQL: Final = (
    """
CREATE FUNCTION users_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM namespaces WHERE name = NEW.name AND kind = 'organisation') THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$
""",
    """
CREATE TRIGGER users_name BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION users_name()
""",
    """
CREATE FUNCTION repositories_public() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.internal := false;
    RETURN NEW;
END
$$
""",
    """
CREATE TRIGGER repositories_public BEFORE UPDATE OF public ON repositories
FOR EACH ROW WHEN (NEW.public AND NEW.internal) EXECUTE FUNCTION repositories_public()
""",
)


def upgrade() -> None:
    """Add the table, the columns and what keeps them right beside 0.1.0."""
    op.add_column(
        "namespaces",
        sa.Column("visibility", sa.Text(), nullable=False, server_default="private"),
    )
    op.add_column("namespaces", sa.Column("created", sa.Double()))
    op.add_column(
        "repositories",
        sa.Column("internal", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("ix_repositories_internal_name", "repositories", ["internal", "name"])
    condition = sa.text("kind = 'organisation'")
    op.create_index(
        "ix_namespaces_organisation",
        "namespaces",
        ["name"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
    op.create_table(
        "members",
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("repository", BYTEWISE, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "user_name", "repository", name="pk_members"),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.namespace_id"],
            name="fk_members_namespace_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_members_user_name", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_members_user_name_namespace_id", "members", ["user_name", "namespace_id"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in ON_SQLITE if is_sqlite else ON_POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)
