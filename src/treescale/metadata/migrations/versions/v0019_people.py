"""Suspended accounts, sessions, one-time links, sign-on by providers. Adds only.

Servers of before know nothing of a suspension: a password and access tokens of a suspended account
go on there. Bearer tokens do not.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0019"
down_revision: Final = "0018"
branch_labels: Final = None
depends_on: Final = None

BYTEWISE: Final = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and tables."""
    op.add_column("users", sa.Column("suspended", sa.Double()))
    op.add_column("users", sa.Column("suspended_by", sa.Text()))
    op.create_index(
        "ix_users_admin",
        "users",
        ["name"],
        sqlite_where=sa.text("admin = 1"),
        postgresql_where=sa.text("admin"),
    )
    _add_sessions()
    _add_links()
    _add_providers()
    _add_identities()


def _add_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", BYTEWISE, nullable=False),
        sa.Column("secret_sha256", BYTEWISE, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("proven", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
        sa.UniqueConstraint("secret_sha256", name="uq_sessions_secret_sha256"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_sessions_user_name", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_sessions_user_name_created", "sessions", ["user_name", "created"])
    op.create_index("ix_sessions_seen", "sessions", ["seen"])


def _add_links() -> None:
    op.create_table(
        "links",
        sa.Column("link_id", BYTEWISE, nullable=False),
        sa.Column("secret_sha256", BYTEWISE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("actor", BYTEWISE, nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", name="pk_links"),
        sa.UniqueConstraint("secret_sha256", name="uq_links_secret_sha256"),
    )
    for column in ("user_name", "actor", "expires"):
        op.create_index(f"ix_links_{column}", "links", [column])


def _add_providers() -> None:
    op.create_table(
        "sign_on_providers",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("client_secret", sa.Text()),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sign_on_providers"),
    )
    op.create_table(
        "sign_on_states",
        sa.Column("state", BYTEWISE, nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("state", name="pk_sign_on_states"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sign_on_states_expires", "sign_on_states", ["expires"])


def _add_identities() -> None:
    op.create_table(
        "identities",
        sa.Column("identity_id", BYTEWISE, nullable=False),
        sa.Column("issuer", BYTEWISE, nullable=False),
        sa.Column("subject", BYTEWISE, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("identity_id", name="pk_identities"),
        sa.UniqueConstraint("issuer", "subject", name="uq_identities_issuer_subject"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_identities_user_name", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_identities_user_name_created", "identities", ["user_name", "created"])
    op.create_table(
        "sign_on_grants",
        sa.Column("namespace_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("user_name", BYTEWISE, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "user_name", name="pk_sign_on_grants"),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.namespace_id"],
            name="fk_sign_on_grants_namespace_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_sign_on_grants_user_name", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sign_on_grants_user_name", "sign_on_grants", ["user_name"])
