"""Rules for tags: which stay as they are, and which go after a while."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Table, Text

from treescale.metadata.schema.columns import ROW_ID, metadata

# Of a repository, of a namespace, or of the cluster: then both ids are NULL. Never changed but for
# `armed`: who changes a rule removes it and adds another.
rules: Final = Table(
    "rules",
    metadata,
    Column("rule_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("namespace_id", ROW_ID, ForeignKey("namespaces.namespace_id", ondelete="CASCADE")),
    Column("repository_id", ROW_ID, ForeignKey("repositories.repository_id", ondelete="CASCADE")),
    Column("kind", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("may_delete", Boolean, nullable=False),
    Column("may_expire", Boolean, nullable=False),
    Column("keep_last", BigInteger),
    Column("keep_pushed", Double),
    Column("keep_pulled", Double),
    Column("armed", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created", Double, nullable=False),
    Index(None, "repository_id", "namespace_id"),
    Index(None, "namespace_id"),
    Index(None, "armed"),
    sqlite_autoincrement=True,
)
