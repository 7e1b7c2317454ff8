"""Who there is, and what a cluster keeps of keys and settings."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Table, Text, text

from treescale.metadata.schema.columns import BYTEWISE, metadata, part_of

users: Final = Table(
    "users",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("suspended", Double),
    # The actor of it: what a rule suspended the rule may resume.
    Column("suspended_by", Text),
)
Index(
    "ix_users_admin",
    users.c.name,
    sqlite_where=text("admin = 1"),  # on PostgreSQL: admin
)

access_tokens: Final = Table(
    "access_tokens",
    metadata,
    Column("token_id", BYTEWISE, primary_key=True),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("label", Text, nullable=False),
    Column("secret_sha256", BYTEWISE, nullable=False, unique=True),
    Column("allow", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("last_used", Double),
    Index(None, "user_name", "created", "token_id"),
)

# Of a namespace that has a user of its name that user is the owner without a row here.
members: Final = Table(
    "members",
    metadata,
    part_of("namespaces.namespace_id"),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    # A glob: the role is for repositories whose whole names match.
    Column("repository", BYTEWISE, primary_key=True),
    Column("role", Text, nullable=False),
    Column("created", Double, nullable=False),
    Index(None, "user_name", "namespace_id"),
    sqlite_with_rowid=False,
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("key_id", BYTEWISE, primary_key=True),
    Column("private_pem", Text, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("retire_at", Double, nullable=False),
)

settings: Final = Table(
    "settings",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("value", Text, nullable=False),
)

revocations: Final = Table(
    "revocations",
    metadata,
    Column("subject", BYTEWISE, primary_key=True),
    Column("revoked", Double, nullable=False),
    # The `revoked` that has a number in `generations`; 0.1.0 leaves it as it was.
    Column("noted", Double),
    Index(None, "revoked", "subject"),
)
_IS_UNNOTED: Final = text("noted IS NULL OR noted <> revoked")
Index(
    "ix_revocations_unnoted",
    revocations.c.subject,
    sqlite_where=_IS_UNNOTED,
)

# One row a subject, numbered anew by every change of what it may do: "user:NAME", "token:ID", and
# "member:NAME" for what a user was granted.
generations: Final = Table(
    "generations",
    metadata,
    Column("subject", BYTEWISE, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("changed", Double, nullable=False),
    Index(None, "generation"),
)

known_addresses: Final = Table(
    "known_addresses",
    metadata,
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    Column("address", BYTEWISE, primary_key=True),
    Column("seen", Double, nullable=False),
    Index(None, "seen"),
    sqlite_with_rowid=False,
)
