"""How people come in: sessions of browsers, one-time links, and sign-on by providers."""

from typing import Final

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Table, Text, UniqueConstraint

from treescale.metadata.schema.columns import BYTEWISE, metadata, part_of

sessions: Final = Table(
    "sessions",
    metadata,
    Column("session_id", BYTEWISE, primary_key=True),
    Column("secret_sha256", BYTEWISE, nullable=False, unique=True),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    # Of the provider that vouched for the user; "" for a password.
    Column("provider", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("proven", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Index(None, "user_name", "created"),
    Index(None, "seen"),
)

links: Final = Table(
    "links",
    metadata,
    Column("link_id", BYTEWISE, primary_key=True),
    Column("secret_sha256", BYTEWISE, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    # Of an invitation nobody has the name yet.
    Column("user_name", BYTEWISE, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("roles", Text, nullable=False),
    Column("actor", BYTEWISE, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Index(None, "user_name"),
    Index(None, "actor"),
    Index(None, "expires"),
)

sign_on_providers: Final = Table(
    "sign_on_providers",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("client_secret", Text),
    Column("terms", Text, nullable=False),
    Column("created", Double, nullable=False),
)

identities: Final = Table(
    "identities",
    metadata,
    Column("identity_id", BYTEWISE, primary_key=True),
    Column("issuer", BYTEWISE, nullable=False),
    Column("subject", BYTEWISE, nullable=False),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double, nullable=False),
    UniqueConstraint("issuer", "subject"),
    Index(None, "user_name", "created"),
)

# Which roles for all of a namespace came from a provider: it alone takes them away again.
sign_on_grants: Final = Table(
    "sign_on_grants",
    metadata,
    part_of("namespaces.namespace_id"),
    Column("user_name", BYTEWISE, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("role", Text, nullable=False),
    Index(None, "user_name"),
    sqlite_with_rowid=False,
)

# States that a sign-on was finished with: each once.
sign_on_states: Final = Table(
    "sign_on_states",
    metadata,
    Column("state", BYTEWISE, primary_key=True),
    Column("expires", Double, nullable=False),
    Index(None, "expires"),
    sqlite_with_rowid=False,
)
