"""What these tests stand on: an organisation, a robot service, an issuer whose keys were given."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR, user
from tests.fakes_disk import JumpingClock
from tests.id_tokens import EC_KEY, RSA_KEY, Maker, jwk, jwks
from tests.outbounds import outbound
from tests.registry.conftest import CountingPasswords, clock, passwords
from tests.templates import empty_database
from treescale.metadata.database import Database, open_database
from treescale.outbound.networks import Networks
from treescale.registry.issuers.keys import LIMITS, PublishedKeys
from treescale.registry.issuers.service import IssuerService
from treescale.registry.login import Login
from treescale.registry.robots.login import RobotLogin, audiences_of
from treescale.registry.robots.service import RobotService
from treescale.registry.token_service import TokenService

__all__ = ["clock", "passwords"]
ISSUER = "https://issuer.example"
AUDIENCE = "https://registry.example"


@pytest.fixture
async def database(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"), clock=clock)
    for name in ("alice", "bob"):
        await opened.users.add(user(name), actor=ACTOR)
    await opened.organisations.add("acme", "alice", actor=ACTOR)
    clock.seconds = await opened.servers.now()
    yield opened
    await opened.close()


@pytest.fixture
def service(database: Database) -> RobotService:
    return RobotService(database)


@pytest.fixture
def published(clock: JumpingClock) -> PublishedKeys:
    async def client() -> object:
        return outbound().client(Networks(), LIMITS)

    return PublishedKeys(client, clock)  # type: ignore[arg-type]


@pytest.fixture
async def tokens(database: Database, clock: JumpingClock) -> TokenService:
    made = TokenService(database, clock)
    await made.start()
    return made


@pytest.fixture
def robots(database: Database, clock: JumpingClock, published: PublishedKeys) -> RobotLogin:
    return RobotLogin(database, published, clock, audiences=audiences_of(AUDIENCE))


@pytest.fixture
def login(
    database: Database,
    passwords: CountingPasswords,
    clock: JumpingClock,
    tokens: TokenService,
    robots: RobotLogin,
) -> Login:
    """A worker's login, as `serving` puts it together."""
    made = Login(database.users, database.access_tokens, passwords, clock, revoked=tokens.revoked)
    made.robots = robots
    return made


@pytest.fixture
async def issuer(database: Database, clock: JumpingClock) -> Maker:
    """An issuer that an administrator has allowed, with its keys."""
    keys = jwks(jwk(RSA_KEY, "k1"), jwk(EC_KEY, "e1")).decode()
    await IssuerService(database).add(ISSUER, keys, actor=ACTOR)
    return Maker(ISSUER, clock.now(), AUDIENCE, claims={"repository": "acme/app"})
