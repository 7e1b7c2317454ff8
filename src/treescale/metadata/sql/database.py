"""One database as all the nouns the registry asks for."""

from typing import Final

from sqlalchemy import select, true

from treescale.clock import Clock, SystemClock
from treescale.metadata import protocols
from treescale.metadata.cached import (
    CachedBlobs,
    CachedManifests,
    CachedRepositories,
    CachedTags,
    Memory,
)
from treescale.metadata.hearsay import Hearsay
from treescale.metadata.sql.access_tokens import SqlAccessTokens
from treescale.metadata.sql.address import Address, parse_address
from treescale.metadata.sql.blobs import SqlBlobs
from treescale.metadata.sql.connections import Connections, wait_seconds_max
from treescale.metadata.sql.layouts import SqlLayouts
from treescale.metadata.sql.manifests import SqlManifests
from treescale.metadata.sql.owed import SqlOwed
from treescale.metadata.sql.peer_keys import SqlPeerKeys
from treescale.metadata.sql.postgresql import PostgresqlDriver
from treescale.metadata.sql.repositories import SqlRepositories
from treescale.metadata.sql.revocations import SqlRevocations
from treescale.metadata.sql.servers import SqlServers
from treescale.metadata.sql.settings import SqlSettings
from treescale.metadata.sql.signing_keys import SqlSigningKeys
from treescale.metadata.sql.sqlite import SqliteDriver
from treescale.metadata.sql.stores import SqlStores
from treescale.metadata.sql.tags import SqlTags
from treescale.metadata.sql.uploads import SqlUploads
from treescale.metadata.sql.users import SqlUsers

_CLOCK: Final = SystemClock()
_PING: Final = select(true())


class SqlDatabase:
    """Implements `protocols.Database`."""

    def __init__(
        self, connections: Connections, clock: Clock = _CLOCK, hearsay: Hearsay | None = None
    ) -> None:
        self._connections = connections
        memory = Memory(connections.changes, clock, hearsay or Hearsay())
        self.repositories: protocols.Repositories = CachedRepositories(
            SqlRepositories(connections), memory
        )
        self.blobs: protocols.Blobs = CachedBlobs(SqlBlobs(connections), memory)
        self.manifests: protocols.Manifests = CachedManifests(SqlManifests(connections), memory)
        self.tags: protocols.Tags = CachedTags(SqlTags(connections), memory)
        self.uploads: protocols.Uploads = SqlUploads(connections)
        self.users: protocols.Users = SqlUsers(connections)
        self.access_tokens: protocols.AccessTokens = SqlAccessTokens(connections)
        self.signing_keys: protocols.SigningKeys = SqlSigningKeys(connections)
        self.revocations: protocols.Revocations = SqlRevocations(connections)
        self.settings: protocols.Settings = SqlSettings(connections)
        self.peer_keys: protocols.PeerKeys = SqlPeerKeys(connections)
        self.servers: protocols.Servers = SqlServers(connections)
        self.stores: protocols.Stores = SqlStores(connections)
        self.layouts: protocols.Layouts = SqlLayouts(connections)
        self.owed: protocols.Owed = SqlOwed(connections)

    async def ping(self) -> None:
        """Return when the database answers; raises DatabaseAway."""
        await self._connections.rows(_PING)

    async def run(self) -> None:
        """Watch over the database until cancelled; see `Connections.run`."""
        await self._connections.run()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._connections.close()


def open_database(
    url: str,
    *,
    wait_seconds: float = wait_seconds_max,
    clock: Clock = _CLOCK,
    hearsay: Hearsay | None = None,
) -> SqlDatabase:
    """Return the database at `url`; raises SettingInvalid when that is not a database's URL.

    Nothing is asked of it yet: `migrate` first makes its tables. `wait_seconds` is how long to
    wait for another process's lock before DatabaseAway. What this process knows it tells others,
    and hears of them, by `hearsay`.
    """
    connections = connect(parse_address(url), wait_seconds=wait_seconds, clock=clock)
    return SqlDatabase(connections, clock, hearsay)


def connect(
    address: Address, *, wait_seconds: float = wait_seconds_max, clock: Clock = _CLOCK
) -> Connections:
    """Return connections to the database; the first is made when it is first asked."""
    if address.path is not None:
        return Connections(SqliteDriver(address, wait_seconds))
    return Connections(PostgresqlDriver(address, wait_seconds, clock))
