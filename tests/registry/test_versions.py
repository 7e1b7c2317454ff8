"""Servers of version 0.1.0 beside ours: what either revokes, and what either signs, holds at both.

0.1.0 goes by times, and by its own clock. Its part is played by `version_0_1_0` and by what it
writes into the database.
"""

import base64
import hashlib

import pytest

from tests.contracts.metadata_accounts import revoke_as_0_1_0, revoked
from tests.contracts.metadata_values import ACTOR
from tests.registry import version_0_1_0 as old
from tests.registry.conftest import PASSWORD, CountingPasswords
from treescale.auth.jwt import LEEWAY_SECONDS, new_private_pem
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Access, Action
from treescale.clock import DatabaseClock, SystemClock
from treescale.errors import CredentialsInvalid
from treescale.metadata.database import Database
from treescale.metadata.records import SigningKey
from treescale.registry.accounts import Accounts, TokenTerms
from treescale.registry.login import Login
from treescale.registry.token_service import PUBLISH_SECONDS, TokenService

ALICE_APP = [Access("alice/app", ALL_ACTIONS)]
PULL_PUSH = [Access("alice/app", ALL_ACTIONS - {Action.DELETE})]


class Ours:
    """A server of ours on a database that it shares with one of 0.1.0, by the database's time."""

    def __init__(self, database: Database, passwords: CountingPasswords) -> None:
        self.database = database
        self.clock = DatabaseClock(SystemClock())
        self.tokens = TokenService(database, self.clock)
        parts = database.users, database.access_tokens, passwords, self.clock
        self.accounts, self.login = Accounts(*parts), Login(*parts)

    async def start(self) -> None:
        await self.clock.read(self.database.servers.now)
        await self.tokens.start()

    async def later(self) -> None:
        """Wait until the database's clock is past what we took it for, by some milliseconds."""
        given_out = self.clock.now()
        while await self.database.servers.now() <= given_out:
            pass

    async def hears(self) -> None:
        """Do what its background work does every few seconds."""
        await self.database.generations.adopt()
        await self.tokens.refresh()

    def old_token(self, kind: str = "access", *, ahead: float = 0.0, **claims: object) -> str:
        """Return a token of a server of 0.1.0 whose clock is ahead."""
        pair, *_ = self.tokens._keys.values()
        now = self.clock.now() + ahead
        return old.made(pair, self.tokens._identity, kind, now, **claims)

    async def read_by_old(self, token: str) -> old.Payload:
        """Read a token as a server of 0.1.0 does that has just heard of all revocations."""
        pair, *_ = self.tokens._keys.values()
        known = await revoked(self.database)
        return old.read(token, pair, self.tokens._identity, self.clock.now(), known)


@pytest.fixture
async def ours(database: Database, passwords: CountingPasswords) -> Ours:
    server = Ours(database, passwords)
    await server.start()
    await server.accounts.add_user("alice", PASSWORD, actor=ACTOR)
    return server


def proof(password_hash: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(password_hash.encode()).digest()[:18]).decode()


async def test_an_old_server_reads_our_tokens(ours: Ours) -> None:
    for secret in (
        PASSWORD,
        (await ours.accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR))[0],
    ):
        principal = await ours.login.authenticate("alice", secret)
        issued = await ours.tokens.issue(principal, [*PULL_PUSH, Access("bob/x", ALL_ACTIONS)])
        payload = await ours.read_by_old(issued.token)
        assert {one.name: len(one.actions) for one in payload.access} == {"alice/app": 2}
        refresh = await ours.read_by_old(await ours.tokens.refresh_token(principal))
        assert (refresh.sub, refresh.typ) == ("alice", "refresh")


async def test_an_old_server_s_tokens_count_here_until_they_expire(ours: Ours) -> None:
    bearer = await ours.tokens.verify(ours.old_token())
    assert bearer.access == {"alice/app": {*ALL_ACTIONS} - {"delete"}}
    await ours.tokens.verify(ours.old_token(ahead=-(old.ACCESS_SECONDS + LEEWAY_SECONDS - 5)))
    with pytest.raises(CredentialsInvalid, match="expired"):
        await ours.tokens.verify(ours.old_token(ahead=-(old.ACCESS_SECONDS + LEEWAY_SECONDS + 5)))


@pytest.mark.parametrize("ahead", [-(LEEWAY_SECONDS - 5), -11, 11, LEEWAY_SECONDS - 5])
async def test_a_minute_of_skew_is_nothing(ours: Ours, ahead: float) -> None:
    await ours.tokens.verify(ours.old_token(ahead=ahead))


async def test_an_old_docker_login_goes_on(ours: Ours) -> None:
    account = await ours.database.users.get("alice")
    by_password = ours.old_token("refresh", proof=proof(account.password_hash), access=[])
    _, kept = await ours.accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    by_token = ours.old_token("refresh", tid=kept.token_id, access=[])
    for refresh in (by_password, by_token):
        assert (await ours.tokens.redeem(refresh)).user == "alice"
    await ours.accounts.set_password("alice", "another password", actor=ACTOR)
    await ours.hears()
    with pytest.raises(CredentialsInvalid, match="log in again"):
        await ours.tokens.redeem(by_password)
    assert (await ours.tokens.redeem(by_token)).token_id == kept.token_id
    await ours.accounts.revoke_token(kept.token_id, actor=ACTOR)
    with pytest.raises(CredentialsInvalid, match="log in again"):
        await ours.tokens.redeem(by_token)


@pytest.mark.parametrize("how", ["password", "remove", "revoke"])
async def test_what_we_revoke_holds_there(ours: Ours, how: str) -> None:
    text, kept = await ours.accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    secret = text if how == "revoke" else PASSWORD
    principal = await ours.login.authenticate("alice", secret)
    issued = await ours.tokens.issue(principal, ALICE_APP)
    theirs = ours.old_token(tid=kept.token_id if how == "revoke" else "")
    await ours.read_by_old(issued.token)
    await ours.later()
    if how == "password":
        await ours.accounts.set_password("alice", "another password", actor=ACTOR)
    elif how == "remove":
        await ours.accounts.remove_user("alice", actor=ACTOR)
    else:
        await ours.accounts.revoke_token(kept.token_id, actor=ACTOR)
    for token in (issued.token, theirs):
        with pytest.raises(AssertionError, match="revoked"):
            await ours.read_by_old(token)
    await ours.hears()
    for token in (issued.token, theirs):
        with pytest.raises(CredentialsInvalid, match="revoked"):
            await ours.tokens.verify(token)


@pytest.mark.parametrize("ahead", [-3600.0, -30.0, 0.0, 30.0, 3600.0])
async def test_what_an_old_server_revokes_holds_here_whatever_its_clock_says(
    ours: Ours, ahead: float
) -> None:
    issued = await ours.tokens.issue(await ours.login.authenticate("alice", PASSWORD), ALICE_APP)
    await revoke_as_0_1_0(ours.database, "user:alice", ours.clock.now() + ahead)
    await ours.hears()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await ours.tokens.verify(issued.token)
    again = Login(ours.database.users, ours.database.access_tokens, CountingPasswords(), ours.clock)
    fresh = await ours.tokens.issue(await again.authenticate("alice", PASSWORD), ALICE_APP)
    await ours.hears()
    assert (await ours.tokens.verify(fresh.token)).principal.user == "alice", "nobody is locked out"


async def test_what_was_revoked_before_the_upgrade_is_known_at_the_start(
    ours: Ours, passwords: CountingPasswords
) -> None:
    theirs = ours.old_token()
    await revoke_as_0_1_0(ours.database, "user:alice", ours.clock.now() + 1)
    server = Ours(ours.database, passwords)
    await server.start()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await server.tokens.verify(theirs)


async def test_a_login_after_an_old_revocation_counts_at_once(ours: Ours) -> None:
    """Those who logged in again before the upgrade are not asked to do so once more."""
    await revoke_as_0_1_0(ours.database, "user:alice", ours.clock.now() - 5)
    await ours.hears()
    await ours.tokens.verify(ours.old_token())


async def test_an_old_key_that_leaks_signs_nothing_that_counts(ours: Ours) -> None:
    """Keys are kept for the logins they signed. Forged are tokens of the time it was in use."""
    (first,) = await ours.database.signing_keys.list()
    _, kept = await ours.accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    await ours.database.signing_keys.add(
        SigningKey("other", new_private_pem(b"2" * 32), ours.clock.now() - 1, first.retire_at)
    )
    long_ago = ours.clock.now() - 200 * 86_400
    await ours.database.signing_keys.retire(first.key_id, retire_at=long_ago)
    await ours.tokens.refresh()
    pair = ours.tokens._keys[first.key_id]
    for kind, claims in (
        ("access", {}),
        ("refresh", {"tid": kept.token_id}),
        ("refresh", {"tid": kept.token_id, "gen": 0}),
        ("refresh", {"tid": kept.token_id, "gen": 0, "proof": "guessed"}),
        ("refresh", {"gen": 0}),
    ):
        forged = old.made(
            pair,
            ours.tokens._identity,
            kind,
            long_ago - PUBLISH_SECONDS,
            exp=ours.clock.now() + 3600,
            **claims,
        )
        read = ours.tokens.verify if kind == "access" else ours.tokens.redeem
        with pytest.raises(CredentialsInvalid):
            await read(forged)


async def test_hearing_of_an_old_server_is_of_its_kind(ours: Ours) -> None:
    """What a worker of 0.1.0 tells of a login has no number; its time counts then."""
    # A second ago: the database tells milliseconds, and all this takes less than one.
    heard = Principal("alice", proven=ours.clock.now() - 1)
    await ours.tokens.verify((await ours.tokens.issue(heard, ALICE_APP)).token)
    await ours.accounts.set_password("alice", "another password", actor=ACTOR)
    await ours.hears()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await ours.tokens.issue(heard, ALICE_APP)
