"""Robots, what they log in with, and whose ID tokens are believed."""

from typing import Final

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Table, Text

from treescale.metadata.schema.columns import BYTEWISE, ROW_ID, metadata

robots: Final = Table(
    "robots",
    metadata,
    Column("robot_id", BYTEWISE, primary_key=True),
    Column(
        "namespace_id",
        ROW_ID,
        ForeignKey("namespaces.namespace_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", BYTEWISE, nullable=False),
    Column("allow", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("actor", Text, nullable=False),
    Column("last_used", Double),
    Column("last_address", Text),
    Index(None, "namespace_id", "name", unique=True),
    sqlite_with_rowid=False,
)

issuers: Final = Table(
    "issuers",
    metadata,
    Column("issuer", BYTEWISE, primary_key=True),
    # NULL: its keys are where it publishes them.
    Column("jwks", Text),
    Column("created", Double, nullable=False),
    sqlite_with_rowid=False,
)

trust_rules: Final = Table(
    "trust_rules",
    metadata,
    Column("rule_id", BYTEWISE, primary_key=True),
    Column("robot_id", BYTEWISE, ForeignKey("robots.robot_id", ondelete="CASCADE"), nullable=False),
    Column("issuer", BYTEWISE, ForeignKey("issuers.issuer", ondelete="CASCADE"), nullable=False),
    Column("claims", Text, nullable=False),
    Column("created", Double, nullable=False),
    Index(None, "robot_id", "rule_id"),
    Index(None, "issuer", "robot_id"),
    sqlite_with_rowid=False,
)

# Those with a rule were made for an ID token that it took, and go with it.
robot_secrets: Final = Table(
    "robot_secrets",
    metadata,
    Column("secret_sha256", BYTEWISE, primary_key=True),
    Column("robot_id", BYTEWISE, ForeignKey("robots.robot_id", ondelete="CASCADE"), nullable=False),
    Column("rule_id", BYTEWISE, ForeignKey("trust_rules.rule_id", ondelete="CASCADE")),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Index(None, "robot_id", "created"),
    Index(None, "rule_id"),
    sqlite_with_rowid=False,
)

id_token_uses: Final = Table(
    "id_token_uses",
    metadata,
    Column("fingerprint", BYTEWISE, primary_key=True),
    Column("robot_id", BYTEWISE, ForeignKey("robots.robot_id", ondelete="CASCADE"), nullable=False),
    Column("exchanged", Boolean, nullable=False),
    Column("expires", Double, nullable=False),
    Index(None, "robot_id"),
    Index(None, "expires"),
    sqlite_with_rowid=False,
)
