"""What the API tests run against, and the handles to break it with."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.contracts.metadata_values import ACTOR
from tests.fakes_readiness import Fit
from tests.outbounds import outbound
from tests.templates import empty_database
from treescale.auth.counts import Counts
from treescale.auth.passwords import Passwords
from treescale.auth.policy import Principal
from treescale.cache.exchange import AnswerExchange
from treescale.chunks.store import MemoryStore
from treescale.clock import Clock, SystemClock
from treescale.cluster.lost import LossRecorder
from treescale.console.web.page import PageRoute
from treescale.events.live import LiveLog
from treescale.http.call import Service
from treescale.http.connections.connection import ConnectionServer
from treescale.metadata.database import Database, open_database
from treescale.metrics.meters import Meters
from treescale.metrics.traffic import TrafficCounters
from treescale.outbound.client import OutboundClient
from treescale.outbound.networks import Networks
from treescale.registry.accounts import Accounts
from treescale.registry.counted.rates import Rates
from treescale.registry.credential_cache import CredentialCache, key_for_all
from treescale.registry.issuers.keys import LIMITS, PublishedKeys
from treescale.registry.login import Login
from treescale.registry.robots.login import RobotLogin, audiences_of
from treescale.registry.token_service import TokenService

PASSWORD: Final = "a password for tests"
PUBLIC_URL: Final = "https://registry.example.com"
USERS: Final = ("alice", "bob")
ARGON2_KIB: Final = 64
"""Far too little for real passwords, and quick."""


class LateClock:
    """The machine's clock, which a test can put forward."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._later = 0.0

    def skip(self, seconds: float) -> None:
        """Let this much time have passed."""
        self._later += seconds

    def now(self) -> float:
        """Return wall-clock seconds."""
        return self._clock.now() + self._later

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic() + self._later


@dataclass(frozen=True)
class Parts:
    """What a registry is made of."""

    database: Database
    store: MemoryStore
    tokens: TokenService
    accounts: Accounts
    login: Login
    passwords: Passwords
    clock: LateClock
    threads: Executor
    losses: LossRecorder
    robots: RobotLogin
    rates: Rates
    traffic: TrafficCounters = field(default_factory=TrafficCounters)
    ready: Fit = field(default_factory=Fit)
    meters: Meters = field(default_factory=Meters)


@dataclass(frozen=True)
class Running:
    """A running registry and what it stands on."""

    url: str
    parts: Parts
    rooms: Service
    live: LiveLog
    connections: ConnectionServer
    pages: Sequence[PageRoute] = ()


async def make_parts(
    database_file: Path, threads: Executor, exchange: AnswerExchange | None = None
) -> Parts:
    """Open a database file and build a registry's parts on it."""
    return await make_parts_on(f"sqlite:///{database_file}", threads, exchange)


async def make_parts_on(
    url: str, threads: Executor, exchange: AnswerExchange | None = None
) -> Parts:
    """Open a migrated database and build a registry's parts on it."""
    clock, exchange = LateClock(), exchange or AnswerExchange()
    database = open_database(url, exchange=exchange)
    passwords = Passwords(memory=ARGON2_KIB)
    key = key_for_all(b"what all servers have")
    redeemed = CredentialCache(key, clock, exchange.topic("refresh token", Principal))
    proven = CredentialCache(key, clock, exchange.topic("login", Principal))
    tokens = TokenService(database, clock, redeemed=redeemed)
    await tokens.start()
    store = MemoryStore()
    robots = RobotLogin(
        database, PublishedKeys(_to_nobody, clock), clock, audiences=audiences_of(PUBLIC_URL)
    )
    login = Login(
        database.users,
        database.access_tokens,
        passwords,
        clock,
        remembered=proven,
        revoked=tokens.revoked,
    )
    login.passwords_off = tokens.passwords_off
    login.robots = robots
    return Parts(
        database=database,
        store=store,
        tokens=tokens,
        passwords=passwords,
        accounts=Accounts(database.users, database.access_tokens, passwords, clock),
        login=login,
        clock=clock,
        threads=threads,
        losses=LossRecorder(database.lost, store, clock),
        robots=robots,
        rates=Rates(Counts(), clock),
    )


async def _to_nobody() -> OutboundClient:
    """Return what asks no address of this machine."""
    return outbound().client(Networks(), LIMITS)


async def make_database(path: Path) -> None:
    """Write a database as after a first start, with the users alice and bob."""
    clock: Clock = SystemClock()
    database = open_database(empty_database(path))
    await TokenService(database, clock).start()
    passwords = Passwords(memory=ARGON2_KIB)
    accounts = Accounts(database.users, database.access_tokens, passwords, clock)
    for name in USERS:
        await accounts.add_user(name, PASSWORD, actor=ACTOR)
    await database.close()
