"""Webhooks, and what is sent to them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from treescale.metadata.schema.columns import BYTEWISE, ROW_ID, metadata

hooks: Final = Table(
    "hooks",
    metadata,
    Column("hook_id", BYTEWISE, primary_key=True),
    Column("namespace", BYTEWISE),
    Column("scope", BYTEWISE, nullable=False),
    Column("url", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("untagged", Boolean, nullable=False),
    Column("headers", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("settle", Double, nullable=False),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text, nullable=False),
    Column("old_secret_until", Double, nullable=False),
    Column("public_url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("failing_since", Double),
    Column("created", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Index(None, "namespace", "hook_id"),
    sqlite_with_rowid=False,
)

_WAITING: Final = text("state = 'waiting'")
# An event is here whole: it may have left the log while its receiver was away.
deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("delivery_id", ROW_ID, primary_key=True),
    Column("hook_id", BYTEWISE, ForeignKey("hooks.hook_id", ondelete="CASCADE"), nullable=False),
    Column("event_id", BYTEWISE, nullable=False),
    Column("kind", Text, nullable=False),
    Column("repository", BYTEWISE, nullable=False),
    Column("event", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double),
    Column("status", Integer),
    Column("answer", Text, nullable=False),
    Column("seconds", Double),
    Index(None, "hook_id", "delivery_id"),
    Index(None, "created"),
    Index(
        "ix_deliveries_waiting",
        "hook_id",
        "repository",
        "created",
        sqlite_where=_WAITING,
    ),
    Index(
        "ix_deliveries_due",
        "hook_id",
        "next_at",
        sqlite_where=_WAITING,
    ),
    sqlite_autoincrement=True,
)
