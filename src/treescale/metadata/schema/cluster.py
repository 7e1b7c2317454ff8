"""Who belongs to the cluster, where copies go, and the work of its servers."""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, Table, Text, text

from treescale.metadata.schema.columns import BYTEWISE, metadata

# Numbers that are given out once each, in the order of commits.
counters: Final = Table(
    "counters",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Background work of which one server of all does each, until the database's time passes `until`.
leases: Final = Table(
    "leases",
    metadata,
    Column("name", BYTEWISE, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
    Column("fence", BigInteger, nullable=False),
)

peer_keys: Final = Table(
    "peer_keys",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
)

# No index on what a heartbeat writes: PostgreSQL then changes the row in place, or nearly.
servers: Final = Table(
    "servers",
    metadata,
    Column("server_id", BYTEWISE, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("to_clients", BigInteger),
    Column("from_clients", BigInteger),
    Column("to_servers", BigInteger),
    Column("from_servers", BigInteger),
    Column("place", Text),
    Column("version", Text),
    Column("clock_error", Double),
    Column("unreached", Text),  # JSON: the ids of other servers, and why each is not reached
    Column("certificate_expires", Double),
)

# No foreign key to servers: rows from before there were any have no server.
stores: Final = Table(
    "stores",
    metadata,
    Column("store_id", BYTEWISE, primary_key=True),
    Column("server", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("weight", Double, nullable=False),
    Column("registered", Double, nullable=False),
    Column("server_id", BYTEWISE, nullable=False, server_default=text("''")),
    Column("state", Text, nullable=False, server_default="active"),
    Column("seen", Double, nullable=False, server_default="0"),
    Column("bytes_total", BigInteger),
    Column("bytes_free", BigInteger),
    Column("trouble", Text, nullable=False, server_default=text("''")),
)

layouts: Final = Table(
    "layouts",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("copies", Integer, nullable=False),
    Column("created", Double, nullable=False),
    Column("stores", Text, nullable=False),
)

# No foreign keys: a debt is written before its chunk belongs to a blob, and must be written though
# its store is being forgotten at this moment.
owed: Final = Table(
    "owed",
    metadata,
    Column("chunk", LargeBinary, primary_key=True),
    Column("store_id", BYTEWISE, primary_key=True),
    Column("since", Double, nullable=False),
    Index(None, "store_id", "chunk"),
    sqlite_with_rowid=False,
)

# Where the walk of each store stands, written by its server. No foreign key: a store that is being
# forgotten at this moment may still write.
walks: Final = Table(
    "walks",
    metadata,
    Column("store_id", BYTEWISE, primary_key=True),
    Column("layout", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("misplaced", BigInteger, nullable=False),
    Column("rate", BigInteger, nullable=False),
    Column("looked", Double, nullable=False),
    Column("verified", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("partitions", LargeBinary, nullable=False),
)

# Work that was asked for: a row for each store that has to do it.
jobs: Final = Table(
    "jobs",
    metadata,
    Column("job_id", BYTEWISE, primary_key=True),
    Column("store_id", BYTEWISE, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", BYTEWISE, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("problems", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Index(None, "state", "store_id"),
    Index(None, "created"),
)
