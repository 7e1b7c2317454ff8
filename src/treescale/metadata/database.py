"""One database as all the nouns the registry asks for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import exists, select, text, true
from sqlalchemy.exc import DBAPIError

from treescale.cache.answers import BYTES_MAX as NOUN_BYTES_MAX
from treescale.cache.answers import KNOWN_SECONDS_MAX, AnswerCache, Changes
from treescale.cache.exchange import AnswerExchange
from treescale.clock import Clock, SystemClock
from treescale.errors import DatabaseTrouble, DatabaseUnavailable, Failed
from treescale.metadata import accounts, manifest_push
from treescale.metadata.accounts import Generations, KnownAddresses, Users
from treescale.metadata.blobs import Blobs, References
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import WAIT_SECONDS_MAX, Connections
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metadata.events.groups import EventGroups
from treescale.metadata.events.hooks import Hooks
from treescale.metadata.events.log import EventLog
from treescale.metadata.keys import AccessTokens, PeerKeys, SigningKeys
from treescale.metadata.layouts import Layouts, OldestLayout, ReadOnlySwitches
from treescale.metadata.manifests import Manifests
from treescale.metadata.missing_copies import LostChunks, UnderReplicated
from treescale.metadata.organisations import KNOWN_BYTES_MAX as HELD_BYTES_MAX
from treescale.metadata.organisations import KNOWN_SECONDS_MAX as HELD_SECONDS_MAX
from treescale.metadata.organisations import Holding, Organisations
from treescale.metadata.records import Blob, Examined, Manifest, Repository
from treescale.metadata.repositories import KNOWN_BYTES_MAX, PUBLIC_SECONDS_MAX, Repositories
from treescale.metadata.schema import SCHEMA_VERSION, SCHEMA_VERSION_TABLE, metadata
from treescale.metadata.servers import Servers, Stores
from treescale.metadata.settings.settings import Settings
from treescale.metadata.uploads import Uploads
from treescale.metadata.work import Collections, Jobs, Leases, Walks
from treescale.metrics.meters import Meters

Value = TypeVar("Value")

_CLOCK: Final = SystemClock()
_PING: Final = select(true())
_LOOK: Final = ahead(
    select(
        text(f"(SELECT max(version_num) FROM {SCHEMA_VERSION_TABLE})"),  # noqa: S608  a constant
        *(exists().select_from(table) for table in metadata.sorted_tables),
    )
)
_SCHEMA: Final = DatabaseUnavailable(
    "the database has not the tables of this version: restart the server, which makes them",
    DatabaseTrouble.SCHEMA,
)

# What every login and push asks of nouns whose own files are long enough without it.
ahead(accounts.GET_USER, "this")
ahead(accounts.HOLD_USER, "user")
ahead(accounts.KNOWS_ADDRESS, "address seconds user")
ahead(accounts.NOTE_ADDRESS, "address seconds user_name")
ahead(accounts.OLDEST_ADDRESSES, "user")
ahead(manifest_push.HOLD_BLOBS, "digests row_id")
ahead(manifest_push.NEW_TAG, "digest name pushed_by repository_id updated version_key")
ahead(
    manifest_push.TAG_UNLESS_IMMUTABLE,
    "digest name pushed_by repository_id row_id updated version_key",
)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one worker keeps of the answers of one database, and tells others."""

    changes: Changes
    clock: Clock
    exchange: AnswerExchange

    def of(
        self,
        noun: str,
        kind: type[Value],
        bytes_max: int = NOUN_BYTES_MAX,
        seconds_max: float = KNOWN_SECONDS_MAX,
    ) -> AnswerCache[Value]:
        """Return what is to be kept of one noun, by its name on the wire."""
        return AnswerCache(
            self.changes,
            self.clock,
            limit=bytes_max,
            seconds=seconds_max,
            topic=self.exchange.topic(noun, kind),
        )


def _never() -> None:
    """Nothing is known for certain."""


class Database:
    """All nouns on one database.

    Everywhere: a write is durable and visible to every other caller when the call returns; each
    call is one transaction; a lost connection or a locked or full database raises
    DatabaseUnavailable (StoreFull when the disk is full); lists are keyset-paginated in byte order
    of their key (`after` is exclusive, "" starts) and never return more than `limit` rows.
    Repositories come into being with the first blob or manifest linked to them. A write that takes
    an `actor`, who does it, records what it has changed (see `events`); one that changes nothing,
    or raises, records nothing.
    """

    def __init__(
        self,
        connections: Connections,
        clock: Clock = _CLOCK,
        exchange: AnswerExchange | None = None,
    ) -> None:
        self._connections = connections
        exchange = exchange or AnswerExchange()
        answers = _Answers(connections.answers_version, clock, exchange)
        used = OldestLayout()
        self.blobs = Blobs(connections, used, answers.of("blob", Blob), clock)
        self.manifests = Manifests(
            connections,
            by_digest=answers.of("manifest", Manifest),
            by_tag=answers.of("tag", Manifest),
        )
        self.repositories = Repositories(
            connections,
            answers.of("repository", Repository, KNOWN_BYTES_MAX, PUBLIC_SECONDS_MAX),
            forget=(self.manifests.forget_repository, self.blobs.forget_repository),
        )
        self.uploads = Uploads(connections, used)
        self.users = Users(connections)
        self.organisations = Organisations(
            connections,
            # Never current: a role that was taken away is not given once more.
            _Answers(_never, clock, exchange).of(
                "member", Holding, HELD_BYTES_MAX, HELD_SECONDS_MAX
            ),
        )
        self.access_tokens = AccessTokens(connections)
        self.known_addresses = KnownAddresses(connections)
        self.signing_keys = SigningKeys(connections)
        self.generations = Generations(connections)
        self.settings = Settings(connections)
        self.read_only = ReadOnlySwitches(connections)
        self.peer_keys = PeerKeys(connections)
        self.servers = Servers(connections)
        self.stores = Stores(connections)
        self.layouts = Layouts(connections)
        self.under_replicated = UnderReplicated(connections)
        self.leases = Leases(connections, clock)
        self.lost = LostChunks(connections)
        self.references = References(connections)
        self.walks = Walks(connections)
        self.collections = Collections(connections)
        self.jobs = Jobs(connections)
        self.hooks = Hooks(connections)
        self.event_log = EventLog(connections)
        self.event_groups = EventGroups(connections)

    @property
    def connections(self) -> Connections:
        """Return what its nouns ask, for work on rows of several of them."""
        return self._connections

    async def ping(self) -> None:
        """Raise DatabaseUnavailable when the database does not answer."""
        await self._connections.rows(_PING)

    async def examine(self) -> Examined:
        """Look how the database is, also where no request looks just now. Raises nothing of ours.

        Takes about a millisecond, and writes nothing.
        """
        try:
            row, refused = await self._connections.examine(_LOOK)
        except Failed as error:
            return Examined(read=error, write=error)
        except DBAPIError:
            # What no table of errors knows is here a table or column that is not there.
            return Examined(schema=_SCHEMA)
        version = "" if row is None else str(row[0] or "")
        return Examined(write=refused, schema=None if version >= SCHEMA_VERSION else _SCHEMA)

    async def run(self) -> None:
        """Watch over the database until cancelled: background work of whoever serves.

        While this runs, one that is away is found so within two seconds, and every call raises
        DatabaseUnavailable at once until it answers again.
        """
        await self._connections.run()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._connections.close()


def open_database(
    url: str,
    *,
    wait_seconds: float = WAIT_SECONDS_MAX,
    clock: Clock = _CLOCK,
    exchange: AnswerExchange | None = None,
    file: DatabaseFile | None = None,
    meters: Meters | None = None,
) -> Database:
    """Return the database at `url`; raises SettingInvalid when that is not a database's URL.

    Nothing is asked of it yet: `migrate` first makes its tables. `wait_seconds` is how long to wait
    for another process's lock before DatabaseUnavailable. What this process knows it tells others,
    and hears of them, by `exchange`. `file` is SQLite's, when other processes watch it as well.
    Calls are counted by `meters`.
    """
    address = parse_address(url)
    connections = connect(address, wait_seconds=wait_seconds, clock=clock, file=file, meters=meters)
    return Database(connections, clock, exchange)


@asynccontextmanager
async def opened(
    url: str,
    *,
    exchange: AnswerExchange | None = None,
    file: DatabaseFile | None = None,
    meters: Meters | None = None,
) -> AsyncIterator[Database]:
    """Have the database at `url` open within; see `open_database`."""
    database = open_database(url, exchange=exchange, file=file, meters=meters)
    try:
        yield database
    finally:
        await database.close()
