"""What the API tests run against, and the handles to break it with."""

from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treescale.auth.passwords import Passwords
from treescale.auth.policy import Principal
from treescale.chunks.store import MemoryStore
from treescale.clock import Clock, SystemClock
from treescale.metadata.hearsay import Hearsay
from treescale.metadata.migrations import migrate
from treescale.metadata.protocols import Database
from treescale.metadata.sql.database import open_database
from treescale.registry.accounts import Accounts
from treescale.registry.bearer import TokenService
from treescale.registry.login import Login
from treescale.registry.remembered import Remembered, key_for_all
from treescale.traffic import Traffic

PASSWORD: Final = "a password for tests"
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
    clock: LateClock
    threads: Executor
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(frozen=True)
class Running:
    """A running registry and what it stands on."""

    url: str
    parts: Parts


async def make_parts(
    database_file: Path, threads: Executor, hearsay: Hearsay | None = None
) -> Parts:
    """Open a database file and build a registry's parts on it."""
    return await make_parts_on(f"sqlite:///{database_file}", threads, hearsay)


async def make_parts_on(url: str, threads: Executor, hearsay: Hearsay | None = None) -> Parts:
    """Open a migrated database and build a registry's parts on it."""
    clock, hearsay = LateClock(), hearsay or Hearsay()
    database = open_database(url, hearsay=hearsay)
    passwords = Passwords(memory=ARGON2_KIB)
    key = key_for_all(b"what all servers have")
    redeemed = Remembered(key, clock, hearsay.topic("refresh token", Principal))
    proven = Remembered(key, clock, hearsay.topic("login", Principal))
    tokens = TokenService(database, clock, redeemed=redeemed)
    await tokens.start()
    return Parts(
        database=database,
        store=MemoryStore(),
        tokens=tokens,
        accounts=Accounts(database.users, database.access_tokens, passwords, clock),
        login=Login(database.users, database.access_tokens, passwords, clock, remembered=proven),
        clock=clock,
        threads=threads,
    )


async def make_database(path: Path) -> None:
    """Write a database as after a first start, with the users alice and bob."""
    clock: Clock = SystemClock()
    url = f"sqlite:///{path}"
    await migrate(url)
    database = open_database(url)
    await TokenService(database, clock).start()
    passwords = Passwords(memory=ARGON2_KIB)
    accounts = Accounts(database.users, database.access_tokens, passwords, clock)
    for name in USERS:
        await accounts.add_user(name, PASSWORD)
    await database.close()
