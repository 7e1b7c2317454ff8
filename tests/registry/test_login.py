"""Logging in: what counts, what is told, what it costs, and how soon a revoked credential fails."""

import asyncio
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from tests.registry.conftest import CountingPasswords
from treescale.auth.guessing import ADDRESS_FREE, PAIR_FREE
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.clock import SystemClock
from treescale.errors import CredentialsInvalid, DatabaseUnavailable, Failed, TooMany
from treescale.metadata.database import Database
from treescale.registry import credential_cache as remembered_module
from treescale.registry.accounts import Accounts, TokenTerms
from treescale.registry.credential_cache import AWAY_SECONDS_MAX
from treescale.registry.login import REMEMBERED_SECONDS, Login
from treescale.registry.throttle import Throttle

PASSWORD = "correct horse"
TERMS = TokenTerms("ci", frozenset({Action.PULL}), "alice/*", 3600)


@pytest.fixture
async def login(
    database: Database, passwords: CountingPasswords, clock: JumpingClock, accounts: Accounts
) -> Login:
    await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    await accounts.add_user("bob", "bob's password", actor=ACTOR)
    return Login(database.users, database.access_tokens, passwords, clock)


async def test_a_password_gives_all_rights(login: Login, clock: JumpingClock) -> None:
    found = await login.authenticate("alice", PASSWORD)
    assert found == Principal("alice", "", ALL_ACTIONS, "*")
    assert found.proven == clock.now()


async def test_an_access_token_gives_its_own(
    login: Login, accounts: Accounts, database: Database, clock: JumpingClock
) -> None:
    text, kept = await accounts.create_token("alice", TERMS, actor=ACTOR)
    clock.seconds += 5
    found = await login.authenticate("alice", text)
    assert found == Principal(
        "alice", kept.token_id, frozenset({Action.PULL}), "alice/*", kept.expires
    )
    assert (await database.access_tokens.list("alice"))[0].last_used == clock.now()


async def test_a_database_that_cannot_write_lets_a_token_in(
    login: Login, accounts: Accounts, no_write: Exception
) -> None:
    text, kept = await accounts.create_token("alice", TERMS, actor=ACTOR)
    with capture_logs() as lines:
        found = await login.authenticate("alice", text)
    assert (found.user, found.token_id) == ("alice", kept.token_id)
    assert [(one["event"], one["error"]) for one in lines] == [
        ("access_token.use_not_recorded", str(no_write))
    ]
    assert text not in repr(lines)


async def test_other_failures_to_record_a_use_are_not_passed_over(
    login: Login,
    accounts: Accounts,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, _ = await accounts.create_token("alice", TERMS, actor=ACTOR)
    monkeypatch.setattr(database.access_tokens, "touch", AsyncMock(side_effect=Failed("a bug")))
    with pytest.raises(Failed, match="a bug"):
        await login.authenticate("alice", text)


async def test_wrong_is_wrong_and_says_no_more(login: Login, accounts: Accounts) -> None:
    """S28: an unknown user, a wrong password and a wrong token are told alike."""
    text, _ = await accounts.create_token("alice", TERMS, actor=ACTOR)
    revoked, kept = await accounts.create_token("alice", TERMS, actor=ACTOR)
    await accounts.revoke_token(kept.token_id, actor=ACTOR)
    attempts = [
        ("alice", "wrong password"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("Alice", PASSWORD),
        ("../alice", PASSWORD),
        ("alice", PASSWORD + "\0"),
        ("alice", "\ud800"),
        ("\ud800", PASSWORD),
        ("bob", text),
        ("nobody", text),
        ("\ud800", text),
        ("alice", text[:-1]),
        ("alice", revoked),
        ("alice", "x" * 100_000),
    ]
    told = set()
    for number, (name, secret) in enumerate(attempts):
        with pytest.raises(CredentialsInvalid) as refused:
            await login.authenticate(name, secret, source=f"10.0.0.{number}")
        told.add(str(refused.value))
    assert len(told) == 1


async def test_an_id_token_is_told_to_be_a_robots(login: Login) -> None:
    """As docker login -u acme has it, without the robot's name; whoever is named."""
    told = set()
    for claims in ("e30", 2000 * "x"):
        for number, name in enumerate(("alice", "nobody", "acme")):
            with pytest.raises(CredentialsInvalid) as refused:
                await login.authenticate(name, f"eyJh.{claims}.sig", source=f"10.0.0.{number}")
            told.add(str(refused.value))
    (said,) = told
    assert "NAMESPACE+NAME" in said


async def test_an_unknown_user_costs_a_verification(
    login: Login, passwords: CountingPasswords
) -> None:
    for name in ("alice", "nobody", "not a name"):
        before = passwords.verified
        with pytest.raises(CredentialsInvalid):
            await login.authenticate(name, "wrong password")
        assert passwords.verified == before + 1


async def test_success_is_remembered_for_a_while(
    login: Login, passwords: CountingPasswords, clock: JumpingClock
) -> None:
    first = await login.authenticate("alice", PASSWORD)
    began = clock.now()
    clock.seconds += REMEMBERED_SECONDS - 1
    again = await login.authenticate("alice", PASSWORD)
    assert passwords.verified == 1
    assert first.proven == again.proven == began, "remembering proves nothing anew"
    clock.seconds += 1
    await login.authenticate("alice", PASSWORD)
    assert passwords.verified == 2, "using it does not make it last longer"


async def test_failure_is_not_remembered(
    login: Login, passwords: CountingPasswords, accounts: Accounts
) -> None:
    with pytest.raises(CredentialsInvalid):
        await login.authenticate("carol", "carol's password")
    await accounts.add_user("carol", "carol's password", actor=ACTOR)
    await login.authenticate("carol", "carol's password")
    assert passwords.verified == 2


@pytest.mark.parametrize("how", ["password", "remove", "revoke", "expire"])
async def test_a_revoked_credential_fails_within_a_minute(
    login: Login, accounts: Accounts, clock: JumpingClock, how: str
) -> None:
    text, kept = await accounts.create_token("alice", TERMS, actor=ACTOR)
    secret = text if how in ("revoke", "expire") else PASSWORD
    await login.authenticate("alice", secret)
    if how == "password":
        await accounts.set_password("alice", "another password", actor=ACTOR)
    elif how == "remove":
        await accounts.remove_user("alice", actor=ACTOR)
    elif how == "revoke":
        await accounts.revoke_token(kept.token_id, actor=ACTOR)
    else:
        clock.seconds += 3600
    clock.seconds += REMEMBERED_SECONDS
    assert REMEMBERED_SECONDS <= 60
    with pytest.raises(CredentialsInvalid):
        await login.authenticate("alice", secret)


async def test_an_access_token_is_not_remembered_beyond_its_end(
    login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    text, _ = await accounts.create_token("alice", TERMS, actor=ACTOR)
    clock.seconds += 3599
    await login.authenticate("alice", text)
    clock.seconds += 1
    with pytest.raises(CredentialsInvalid):
        await login.authenticate("alice", text)


async def test_parallel_requests_of_one_client_cost_one_verification(
    login: Login, passwords: CountingPasswords
) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(login.authenticate("alice", PASSWORD, source="10.0.0.1"))
    assert passwords.verified == 1
    assert login._attempts._flying == {}


async def test_guessing_slows_the_guesser_alone(login: Login, clock: JumpingClock) -> None:
    await login.authenticate("alice", PASSWORD, source="10.0.0.1")
    for _ in range(PAIR_FREE):
        with pytest.raises(CredentialsInvalid):
            await login.authenticate("alice", "wrong password", source="10.0.0.1")
    with pytest.raises(TooMany):
        await login.authenticate("alice", "wrong password", source="10.0.0.1")
    await login.authenticate("alice", PASSWORD, source="10.0.0.1")  # remembered
    await login.authenticate("alice", PASSWORD, source="10.0.0.2")
    await login.authenticate("bob", "bob's password", source="10.0.0.1")
    clock.seconds += REMEMBERED_SECONDS
    await login.authenticate("alice", PASSWORD, source="10.0.0.1")


async def test_a_password_nobody_can_have_costs_and_counts_nothing(
    login: Login, passwords: CountingPasswords
) -> None:
    for _ in range(100):
        with pytest.raises(CredentialsInvalid):
            await login.authenticate("alice", "x" * 2000, source="10.0.0.1")
    assert passwords.verified == 0
    await login.authenticate("alice", PASSWORD, source="10.0.0.1")


class TestUnderAttack:
    """Somebody guesses; what is right goes on as if nothing was."""

    @pytest.fixture
    async def login(
        self, database: Database, passwords: CountingPasswords, accounts: Accounts
    ) -> Login:
        clock = SystemClock()
        await accounts.add_user("alice", PASSWORD, actor=ACTOR)
        await accounts.add_user("bob", "bob's password", actor=ACTOR)
        throttle = Throttle(clock, database.known_addresses)
        return Login(database.users, database.access_tokens, passwords, clock, throttle=throttle)

    async def flood(self, login: Login, source: str = "10.0.0.1") -> None:
        for number in range(ADDRESS_FREE + 10):
            with pytest.raises((CredentialsInvalid, TooMany)):
                await login.authenticate(f"nobody{number}", "wrong password", source=source)

    async def test_an_address_that_logged_in_is_never_refused_for_that_account(
        self, login: Login, database: Database, passwords: CountingPasswords
    ) -> None:
        await login.authenticate("alice", PASSWORD, source="10.0.0.1")
        await self.flood(login)
        again = Login(  # a server that was started anew, or another one
            database.users,
            database.access_tokens,
            passwords,
            SystemClock(),
            throttle=Throttle(SystemClock(), database.known_addresses, login._throttle._counts),
        )
        with pytest.raises(TooMany):
            await again.authenticate("bob", "bob's password", source="10.0.0.1")
        await again.authenticate("alice", PASSWORD, source="10.0.0.1")
        await again.authenticate("bob", "bob's password", source="10.0.0.2")

    async def test_who_is_remembered_makes_their_address_known_too(
        self, login: Login, database: Database
    ) -> None:
        for source in ("10.0.0.1", "10.0.0.2"):
            await login.authenticate("alice", PASSWORD, source=source)
            assert await database.known_addresses.knows("alice", source)

    async def test_access_tokens_are_let_in_and_make_no_address_known(
        self, login: Login, accounts: Accounts, database: Database
    ) -> None:
        text, _ = await accounts.create_token(
            "alice", replace(TERMS, lasts_seconds=None), actor=ACTOR
        )
        await self.flood(login)
        for _ in range(2):
            await login.authenticate("alice", text, source="10.0.0.1")
        assert not await database.known_addresses.knows("alice", "10.0.0.1")


async def test_what_is_remembered_is_bounded_and_holds_no_secret(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_module, "REMEMBERED_MAX", 1)
    await login.authenticate("alice", PASSWORD)
    await login.authenticate("bob", "bob's password")
    assert len(login._remembered._entries) == 1
    assert PASSWORD not in repr(vars(login._remembered))


async def test_names_and_secrets_do_not_run_together(login: Login) -> None:
    assert login._fingerprint("ab", "c") != login._fingerprint("a", "bc")


class TestWhileTheDatabaseIsAway:
    @pytest.fixture
    async def token(self, login: Login, accounts: Accounts) -> str:
        del login
        return (await accounts.create_token("alice", TERMS, actor=ACTOR))[0]

    @pytest.fixture(params=["password", "token"])
    def secret(self, request: pytest.FixtureRequest, token: str) -> str:
        return PASSWORD if request.param == "password" else token

    async def test_what_was_right_lately_still_is(
        self, login: Login, away: Away, clock: JumpingClock, secret: str
    ) -> None:
        first = await login.authenticate("alice", secret)
        away.begin()
        clock.seconds += AWAY_SECONDS_MAX - 1
        for _ in range(2):
            again = await login.authenticate("alice", secret)
            assert again == first
            assert again.proven == first.proven, "what was revoked since then voids it"
        clock.seconds += 1
        with pytest.raises(DatabaseUnavailable):
            await login.authenticate("alice", secret)

    async def test_nothing_else_is_let_in(
        self, login: Login, away: Away, clock: JumpingClock, token: str
    ) -> None:
        await login.authenticate("alice", PASSWORD)
        with pytest.raises(CredentialsInvalid):
            await login.authenticate("bob", "alice's guess")
        clock.seconds += REMEMBERED_SECONDS
        away.begin()
        wrong = [("alice", "correct hors"), ("bob", PASSWORD), ("bob", "alice's guess")]
        for name, secret in [*wrong, ("alice", token)]:
            with pytest.raises(DatabaseUnavailable):
                await login.authenticate(name, secret)

    async def test_what_was_refused_meanwhile_is_not(
        self, login: Login, accounts: Accounts, away: Away, clock: JumpingClock
    ) -> None:
        await login.authenticate("alice", PASSWORD)
        await accounts.set_password("alice", "another password", actor=ACTOR)
        clock.seconds += REMEMBERED_SECONDS
        with pytest.raises(CredentialsInvalid):
            await login.authenticate("alice", PASSWORD)
        away.begin()
        with pytest.raises(DatabaseUnavailable):
            await login.authenticate("alice", PASSWORD)

    async def test_no_token_counts_beyond_its_end(
        self, login: Login, accounts: Accounts, away: Away, clock: JumpingClock
    ) -> None:
        text, _ = await accounts.create_token(
            "alice", replace(TERMS, lasts_seconds=60), actor=ACTOR
        )
        await login.authenticate("alice", text)
        away.begin()
        clock.seconds += 59
        await login.authenticate("alice", text)
        clock.seconds += 1
        with pytest.raises(DatabaseUnavailable):
            await login.authenticate("alice", text)

    async def test_when_it_is_back_it_is_asked(
        self, login: Login, accounts: Accounts, away: Away, clock: JumpingClock
    ) -> None:
        await login.authenticate("alice", PASSWORD)
        clock.seconds += REMEMBERED_SECONDS
        away.begin()
        await login.authenticate("alice", PASSWORD)
        away.end()
        await accounts.set_password("alice", "another password", actor=ACTOR)
        with pytest.raises(CredentialsInvalid):
            await login.authenticate("alice", PASSWORD)
