"""What namespaces may have, what they have of it, and what they had each month."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Table, text, true

from treescale.metadata.schema.columns import BYTEWISE, metadata, part_of

# A row for each namespace that has a limit of its own, or one of the cluster's. `own_…`: NULL
# follows the cluster's, -1 is none; `limit_…` is what follows, NULL: none. While `limit_bytes` is
# set, `used` is the sum of the namespace's `quota_blobs`.
quotas: Final = Table(
    "quotas",
    metadata,
    part_of("namespaces.namespace_id"),
    Column("own_bytes", BigInteger),
    Column("own_repositories", BigInteger),
    Column("own_tags", BigInteger),
    Column("limit_bytes", BigInteger),
    Column("limit_repositories", BigInteger),
    Column("limit_tags", BigInteger),
    Column("used", BigInteger, nullable=False, server_default="0"),
    # Of which level was told: 0, 80 or 100 percent.
    Column("told", BigInteger, nullable=False, server_default="0"),
    # What of it is deleted, and since when that is known; read again when somebody asks.
    Column("waiting", BigInteger, nullable=False, server_default="0"),
    Column("weighed", Double, nullable=False, server_default="0"),
    # Whether `used` is to be compared with what is there.
    Column("recount", Boolean, nullable=False, server_default=true()),
)
_IS_TOLD: Final = text("told > 0")
Index("ix_quotas_told", quotas.c.told, sqlite_where=_IS_TOLD)
_IS_DUE: Final = text("recount")
Index(
    "ix_quotas_recount",
    quotas.c.namespace_id,
    sqlite_where=_IS_DUE,
)

# The distinct blobs and manifests that a namespace with a quota has, deleted ones included.
quota_blobs: Final = Table(
    "quota_blobs",
    metadata,
    part_of("quotas.namespace_id"),
    Column("digest", BYTEWISE, primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# No row is changed by a pull: workers add up what they sent, and write once a minute.
namespace_months: Final = Table(
    "namespace_months",
    metadata,
    Column("month", BYTEWISE, primary_key=True),
    part_of("namespaces.namespace_id"),
    Column("byte_seconds", Double, nullable=False, server_default="0"),
    Column("bytes_max", BigInteger, nullable=False, server_default="0"),
    Column("pulled_bytes", BigInteger, nullable=False, server_default="0"),
    Column("pulls", BigInteger, nullable=False, server_default="0"),
    # Up to when `byte_seconds` is added up.
    Column("sampled", Double, nullable=False, server_default="0"),
    Index(None, "namespace_id"),
    sqlite_with_rowid=False,
)
