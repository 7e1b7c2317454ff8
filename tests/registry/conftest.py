"""What these tests stand on: a real SQLite database, a clock that jumps, cheap passwords."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.auth.guessing import Urgency
from treescale.auth.passwords import Passwords
from treescale.errors import DatabaseUnavailable, StoreFull
from treescale.metadata.database import Database, open_database
from treescale.registry.accounts import Accounts
from treescale.registry.login import Login
from treescale.registry.token_service import TokenService

PASSWORD = "correct horse"


class CountingPasswords(Passwords):
    """Real argon2id with next to no memory; says how often it verified."""

    def __init__(self) -> None:
        super().__init__(memory=64)
        self.verified = 0

    async def matches(
        self, password_hash: str | None, password: str, urgency: Urgency = Urgency.PROVEN
    ) -> bool:
        self.verified += 1
        return await super().matches(password_hash, password, urgency)


@pytest.fixture
async def database(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"), clock=clock)
    yield opened
    await opened.close()


@pytest.fixture(params=[StoreFull("no space left"), DatabaseUnavailable("locked")], ids=repr)
def no_write(
    request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Exception:
    """Let the database read, but no longer write when a token was used; return how it fails."""
    error = request.param

    async def touch(token_id: str, *, now: float) -> None:
        del token_id, now
        raise error

    monkeypatch.setattr(database.access_tokens, "touch", touch)
    assert isinstance(error, Exception)
    return error


@pytest.fixture
def away(database: Database) -> Away:
    return Away(database, counts_changes=False)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def passwords() -> CountingPasswords:
    return CountingPasswords()


@pytest.fixture
def accounts(database: Database, passwords: CountingPasswords, clock: JumpingClock) -> Accounts:
    return Accounts(database.users, database.access_tokens, passwords, clock)


@pytest.fixture
async def tokens(database: Database, clock: JumpingClock, accounts: Accounts) -> TokenService:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    service = TokenService(database, clock)
    await service.start()
    return service


@pytest.fixture
def login(
    database: Database, passwords: CountingPasswords, clock: JumpingClock, tokens: TokenService
) -> Login:
    del tokens
    return Login(database.users, database.access_tokens, passwords, clock)
