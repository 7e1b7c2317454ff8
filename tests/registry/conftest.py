"""What these tests stand on: a real SQLite database, a clock that jumps, cheap passwords."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from treescale.auth.passwords import Passwords
from treescale.errors import DatabaseAway, StoreFull
from treescale.metadata.migrations import migrate
from treescale.metadata.sql.database import SqlDatabase, open_database
from treescale.registry.accounts import Accounts


class CountingPasswords(Passwords):
    """Real argon2id with next to no memory; says how often it verified."""

    def __init__(self) -> None:
        super().__init__(memory=64)
        self.verified = 0

    async def matches(self, password_hash: str | None, password: str) -> bool:
        self.verified += 1
        return await super().matches(password_hash, password)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registry") / "migrated.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def database(
    migrated: Path, tmp_path: Path, clock: JumpingClock
) -> AsyncIterator[SqlDatabase]:
    path = tmp_path / "treescale.db"
    shutil.copy(migrated, path)
    opened = open_database(f"sqlite:///{path}", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture(params=[StoreFull("no space left"), DatabaseAway("locked")], ids=repr)
def no_write(
    request: pytest.FixtureRequest, database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
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
def away(database: SqlDatabase) -> Away:
    return Away(database, counts_changes=False)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def passwords() -> CountingPasswords:
    return CountingPasswords()


@pytest.fixture
def accounts(database: SqlDatabase, passwords: CountingPasswords, clock: JumpingClock) -> Accounts:
    return Accounts(database.users, database.access_tokens, passwords, clock)
