"""The token service: granted is what is allowed, void what was revoked; rotation fails nobody."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from structlog.testing import capture_logs

from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from tests.registry.conftest import PASSWORD
from treescale.auth.jwt import (
    ACCESS_SECONDS,
    CHARACTERS_MAX,
    LEEWAY_SECONDS,
    PLAIN_CHARACTERS_MAX,
)
from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.scopes import ALL_ACTIONS, SCOPES_MAX, Access, Action
from treescale.errors import CredentialsInvalid, DatabaseUnavailable, Failed
from treescale.metadata.database import Database, open_database
from treescale.metadata.repositories import PUBLIC_SECONDS_MAX
from treescale.registry.accounts import Accounts, TokenTerms
from treescale.registry.credential_cache import AWAY_SECONDS_MAX
from treescale.registry.login import REMEMBERED_SECONDS, Login
from treescale.registry.token_service import (
    FINISH_GRACE_SECONDS,
    IDENTITY_SETTING,
    OVERLAP_SECONDS,
    PUBLISH_SECONDS,
    ROTATION_SECONDS,
    ROTATION_SPREAD_SECONDS,
    TokenService,
)

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
ALICE_APP = [Access("alice/app", ALL_ACTIONS)]
refresh_interval = 10.0
"""At most this long between two refreshes of a server."""


class CountedKeys:
    """Signing keys that say how often they were read."""

    def __init__(self, database: Database) -> None:
        self.reads = 0
        inner = database.signing_keys.list

        async def counted() -> object:
            self.reads += 1
            return await inner()

        database.signing_keys.list = counted  # type: ignore[method-assign,assignment]


@pytest.fixture
async def elsewhere(
    database: Database, tmp_path: Path, clock: JumpingClock
) -> AsyncIterator[TokenService]:
    """Another server on the same database, started after the first."""
    del database
    opened = open_database(f"sqlite:///{tmp_path / 'treescale.db'}")
    yield TokenService(opened, clock)
    await opened.close()


def alice(clock: JumpingClock) -> Principal:
    """Whoever proved to be the alice of the fixture, before anything else changed."""
    return Principal("alice", proven=clock.now(), generation=0)


async def test_a_token_says_who_and_what(tokens: TokenService, clock: JumpingClock) -> None:
    issued = await tokens.issue(alice(clock), ALICE_APP)
    assert (issued.expires_in, issued.issued_at) == (300, clock.now())
    bearer = await tokens.verify(issued.token)
    assert bearer.principal == alice(clock)
    assert bearer.access == {"alice/app": ALL_ACTIONS}
    assert not bearer.catalog


async def test_anybody_may_list_who_asks_for_it(tokens: TokenService, clock: JumpingClock) -> None:
    for principal in (alice(clock), ANONYMOUS):
        issued = await tokens.issue(principal, [], catalog=True)
        assert issued.catalog
        bearer = await tokens.verify(issued.token)
        assert (bearer.access, bearer.catalog) == ({}, True)


async def test_granted_is_what_was_asked_and_is_allowed(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    await database.repositories.set_public("bob/open", public=True, now=clock.now(), actor=ACTOR)
    await database.repositories.set_public("bob/closed", public=False, now=clock.now(), actor=ACTOR)
    wanted = [
        Access("alice/app", frozenset({PULL, PUSH})),
        Access("bob/open", ALL_ACTIONS),
        Access("bob/closed", ALL_ACTIONS),
        Access("bob/absent", ALL_ACTIONS),
        Access("alice/empty", frozenset()),
    ]
    own, opened = wanted[0], Access("bob/open", frozenset({PULL}))
    assert (await tokens.issue(alice(clock), wanted)).granted == (own, opened)
    assert (await tokens.issue(ANONYMOUS, wanted)).granted == (opened,)
    narrow = Principal("alice", "t", frozenset({PULL}), "alice/x*", proven=clock.now())
    assert (await tokens.issue(narrow, wanted)).granted == (opened,)
    assert await tokens.granted(alice(clock), wanted) == [own, opened]


async def test_pushing_does_not_imply_deleting(tokens: TokenService, clock: JumpingClock) -> None:
    """S18: what was not asked for is not granted, what was not allowed neither."""
    pusher = Principal("alice", "t", frozenset({PULL, PUSH}), proven=clock.now())
    issued = await tokens.issue(pusher, ALICE_APP)
    assert (await tokens.verify(issued.token)).access == {"alice/app": {PULL, PUSH}}
    issued = await tokens.issue(alice(clock), [Access("alice/app", frozenset({PULL, PUSH}))])
    assert (await tokens.verify(issued.token)).access == {"alice/app": {PULL, PUSH}}


async def test_the_anonymous_get_a_token_too(tokens: TokenService, clock: JumpingClock) -> None:
    issued = await tokens.issue(ANONYMOUS, ALICE_APP)
    bearer = await tokens.verify(issued.token)
    assert (bearer.principal.user, bearer.access) == ("", {})
    clock.seconds += ACCESS_SECONDS + LEEWAY_SECONDS
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)


@pytest.mark.parametrize(("names", "length"), [(60, 40), (SCOPES_MAX, 255)])
async def test_as_many_scopes_as_may_be_asked_for_fit_into_a_token(
    tokens: TokenService, clock: JumpingClock, names: int, length: int
) -> None:
    wanted = [
        Access(f"alice/{'x' * (length - 8)}{number:02}", ALL_ACTIONS) for number in range(names)
    ]
    others = [Access(f"bob/{number}", frozenset({PULL})) for number in range(SCOPES_MAX - names)]
    issued = await tokens.issue(alice(clock), wanted + others)
    assert len(issued.token) <= (PLAIN_CHARACTERS_MAX if length < 50 else CHARACTERS_MAX)
    bearer = await tokens.verify(issued.token)
    assert bearer.access == {one.repository: ALL_ACTIONS for one in wanted}
    assert bearer.refused == {one.repository for one in others}


async def test_verifying_asks_no_database(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    issued = await tokens.issue(alice(clock), ALICE_APP)
    await database.close()
    for _ in range(3):
        assert (await tokens.verify(issued.token)).principal.user == "alice"


async def test_an_upload_may_be_finished_after_its_token(
    tokens: TokenService, clock: JumpingClock
) -> None:
    issued = await tokens.issue(alice(clock), ALICE_APP)
    clock.seconds += FINISH_GRACE_SECONDS
    with pytest.raises(CredentialsInvalid, match="expired"):
        await tokens.verify(issued.token)
    assert (await tokens.verify(issued.token, grace=True)).principal.user == "alice"
    clock.seconds += ACCESS_SECONDS + LEEWAY_SECONDS
    with pytest.raises(CredentialsInvalid, match="expired"):
        await tokens.verify(issued.token, grace=True)


async def test_a_bearer_token_ends_with_its_access_token(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    text, _ = await accounts.create_token("alice", TokenTerms("ci", lasts_seconds=100), actor=ACTOR)
    clock.seconds += 80
    principal = await login.authenticate("alice", text)
    issued = await tokens.issue(principal, ALICE_APP)
    assert issued.expires_in == 20
    clock.seconds += 20 + LEEWAY_SECONDS - 1
    await tokens.verify(issued.token)
    clock.seconds += 1
    for grace in (False, True):
        with pytest.raises(CredentialsInvalid, match="expired"):
            await tokens.verify(issued.token, grace=grace)
    with pytest.raises(CredentialsInvalid, match="log in again"):
        await tokens.issue(principal, ALICE_APP)


async def test_an_upload_goes_on_after_its_token_until_the_access_token_ends(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    text, _ = await accounts.create_token(
        "alice", TokenTerms("ci", lasts_seconds=7200), actor=ACTOR
    )
    issued = await tokens.issue(await login.authenticate("alice", text), ALICE_APP)
    assert issued.expires_in == ACCESS_SECONDS
    clock.seconds += 7200 + LEEWAY_SECONDS - 1
    await tokens.verify(issued.token, grace=True)
    clock.seconds += 1
    with pytest.raises(CredentialsInvalid, match="expired"):
        await tokens.verify(issued.token, grace=True)


async def test_a_revoked_user_cannot_finish_either(
    tokens: TokenService, accounts: Accounts, clock: JumpingClock
) -> None:
    issued = await tokens.issue(alice(clock), ALICE_APP)
    await accounts.remove_user("alice", actor=ACTOR)
    clock.seconds += FINISH_GRACE_SECONDS
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await tokens.verify(issued.token, grace=True)


@pytest.mark.parametrize("how", ["password", "remove", "revoke"])
async def test_revoking_voids_what_was_issued_before(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock, how: str
) -> None:
    text, kept = await accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    principal = await login.authenticate("alice", text if how == "revoke" else PASSWORD)
    issued = await tokens.issue(principal, ALICE_APP)
    clock.seconds += 1
    if how == "password":
        await accounts.set_password("alice", "another password", actor=ACTOR)
    elif how == "remove":
        await accounts.remove_user("alice", actor=ACTOR)
    else:
        await accounts.revoke_token(kept.token_id, actor=ACTOR)
    await tokens.verify(issued.token)  # this server has not heard of it
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await tokens.verify(issued.token)


async def test_what_a_cache_still_believes_buys_no_new_token(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    """A login remembered from before the revocation gives tokens that are void like it."""
    await login.authenticate("alice", PASSWORD)
    clock.seconds += 5
    await accounts.set_password("alice", "another password", actor=ACTOR)
    clock.seconds += 5
    remembered = await login.authenticate("alice", PASSWORD)
    issued = await tokens.issue(remembered, ALICE_APP)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await tokens.verify(issued.token)
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await tokens.issue(remembered, ALICE_APP)
    with pytest.raises(CredentialsInvalid, match="revoked"):
        await tokens.refresh_token(remembered)
    fresh = await login.authenticate("alice", "another password")
    await tokens.verify((await tokens.issue(fresh, ALICE_APP)).token)
    assert refresh_interval + REMEMBERED_SECONDS <= 60


async def test_revoking_one_token_leaves_the_others(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    text, _ = await accounts.create_token("alice", TokenTerms("kept"), actor=ACTOR)
    _, lost = await accounts.create_token("alice", TokenTerms("lost"), actor=ACTOR)
    issued = await tokens.issue(await login.authenticate("alice", text), ALICE_APP)
    clock.seconds += 1
    await accounts.revoke_token(lost.token_id, actor=ACTOR)
    await tokens.refresh()
    assert (await tokens.verify(issued.token)).principal.user == "alice"


async def test_a_refresh_token_is_a_login(tokens: TokenService, clock: JumpingClock) -> None:
    refresh = await tokens.refresh_token(alice(clock))
    clock.seconds += 89 * 86_400
    found = await tokens.redeem(refresh)
    assert found == Principal("alice")
    assert (found.proven, found.generation) == (clock.now(), 0)


@pytest.mark.parametrize(
    "made_with",
    [*(pytest.param(x, marks=pytest.mark.long) for x in ("password", "token")), "token that ends"],
)
async def test_a_login_lasts_as_long_as_what_it_was_made_with(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock, made_with: str
) -> None:
    """Through ten years of new keys."""
    ends = 7 * 365 * 86_400 if made_with == "token that ends" else None
    text, _ = await accounts.create_token(
        "alice", TokenTerms("ci", lasts_seconds=ends), actor=ACTOR
    )
    secret = PASSWORD if made_with == "password" else text
    refresh = await tokens.refresh_token(await login.authenticate("alice", secret))
    for month in range(120):
        clock.seconds += ROTATION_SECONDS + ROTATION_SPREAD_SECONDS
        await tokens.refresh()
        if ends is not None and month * ROTATION_SECONDS > ends:
            with pytest.raises(CredentialsInvalid):
                await tokens.redeem(refresh)
        elif month % 20 == 0:
            assert (await tokens.redeem(refresh)).user == "alice"


async def test_the_two_kinds_do_not_pass_for_each_other(
    tokens: TokenService, clock: JumpingClock
) -> None:
    refresh = await tokens.refresh_token(alice(clock))
    access = (await tokens.issue(alice(clock), ALICE_APP)).token
    await tokens.redeem(refresh)
    await tokens.verify(access)
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(refresh)
    with pytest.raises(CredentialsInvalid):
        await tokens.redeem(access)
    for nonsense in ("", "x", "\ud800", "a.b.c"):
        with pytest.raises(CredentialsInvalid):
            await tokens.redeem(nonsense)


@pytest.mark.parametrize("how", ["password", "remove", "again"])
async def test_a_refresh_token_dies_with_its_password(
    tokens: TokenService, accounts: Accounts, clock: JumpingClock, how: str
) -> None:
    refresh = await tokens.refresh_token(alice(clock))
    if how == "password":
        await accounts.set_password("alice", "another password", actor=ACTOR)
        await accounts.set_password("alice", PASSWORD, actor=ACTOR)
    else:
        await accounts.remove_user("alice", actor=ACTOR)
    if how == "again":
        await accounts.add_user("alice", PASSWORD, actor=ACTOR)
    with pytest.raises(CredentialsInvalid, match="log in again"):
        await tokens.redeem(refresh)


async def test_a_refresh_token_has_no_more_rights_than_its_access_token(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    terms = TokenTerms("ci", frozenset({PULL}), "alice/app", 3600)
    text, kept = await accounts.create_token("alice", terms, actor=ACTOR)
    refresh = await tokens.refresh_token(await login.authenticate("alice", text))
    found = await tokens.redeem(refresh)
    assert found == Principal("alice", kept.token_id, frozenset({PULL}), "alice/app", kept.expires)
    clock.seconds += 3600
    with pytest.raises(CredentialsInvalid):
        await tokens.redeem(refresh)
    clock.seconds -= 3600
    await accounts.revoke_token(kept.token_id, actor=ACTOR)
    with pytest.raises(CredentialsInvalid, match="log in again"):
        await tokens.redeem(refresh)


async def test_a_database_that_cannot_write_lets_a_refresh_token_in(
    tokens: TokenService, login: Login, accounts: Accounts, no_write: Exception
) -> None:
    text, kept = await accounts.create_token("alice", TokenTerms("ci"), actor=ACTOR)
    with capture_logs() as lines:
        refresh = await tokens.refresh_token(await login.authenticate("alice", text))
        found = await tokens.redeem(refresh)
    assert (found.user, found.token_id) == ("alice", kept.token_id)
    assert [one["error"] for one in lines] == [str(no_write)] * 2


async def test_a_refresh_token_of_an_account_that_went_is_not_made(
    tokens: TokenService, accounts: Accounts, clock: JumpingClock
) -> None:
    await accounts.remove_user("alice", actor=ACTOR)
    with pytest.raises(CredentialsInvalid):
        await tokens.refresh_token(alice(clock))
    with pytest.raises(CredentialsInvalid):
        await tokens.refresh_token(Principal("alice", "gone", proven=clock.now()))


async def test_an_old_password_buys_no_refresh_token_for_the_new_one(
    tokens: TokenService, login: Login, accounts: Accounts, clock: JumpingClock
) -> None:
    """Not even in the seconds before revocations are read again."""
    before = await login.authenticate("alice", PASSWORD)
    clock.seconds += 1
    await accounts.set_password("alice", "another password", actor=ACTOR)
    assert await login.authenticate("alice", PASSWORD) == before, "it is still remembered"
    with pytest.raises(CredentialsInvalid):
        await tokens.refresh_token(before)
    clock.seconds += 1
    after = await login.authenticate("alice", "another password")
    assert (await tokens.redeem(await tokens.refresh_token(after))).user == "alice"


async def test_servers_that_start_at_once_agree(
    database: Database, elsewhere: TokenService, clock: JumpingClock
) -> None:
    here = TokenService(database, clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(here.start())
        group.create_task(elsewhere.start())
    assert len(await database.signing_keys.list()) == 1
    for one, other in ((here, elsewhere), (elsewhere, here)):
        issued = await one.issue(Principal("alice", proven=clock.now()), ALICE_APP)
        assert (await other.verify(issued.token)).principal.user == "alice"


async def test_two_clusters_have_different_keys_and_identities(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    """S09, S12: a token of one cluster means nothing to another, even under one key."""
    issued = await tokens.issue(alice(clock), ALICE_APP)
    await database.settings.put(IDENTITY_SETTING, "treescale:another")
    other = TokenService(database, clock)
    await other.start()
    with pytest.raises(CredentialsInvalid):
        await other.verify(issued.token)


async def test_an_empty_identity_or_no_key_is_not_worked_around(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    await database.settings.put(IDENTITY_SETTING, "")
    with pytest.raises(Failed, match="token_identity"):
        await TokenService(database, clock).start()
    for key in await database.signing_keys.list():
        await database.signing_keys.remove(key.key_id)
    with pytest.raises(Failed, match="no signing key"):
        await tokens.refresh()


async def test_rotation_fails_no_request(
    tokens: TokenService, elsewhere: TokenService, database: Database, clock: JumpingClock
) -> None:
    """Two servers that refresh every 10 s, one rotates: each token is good on both, always."""
    await elsewhere.start()
    issued: list[tuple[float, str]] = []
    used = set()
    for second in range(0, 900, 10):
        if second == 100:
            await tokens.rotate()
        for service in (tokens, elsewhere):
            token = (await service.issue(alice(clock), ALICE_APP)).token
            issued.append((clock.now(), token))
            used.add(jwt.get_unverified_header(token)["kid"])
        for when, token in issued:
            if when + ACCESS_SECONDS > clock.now():
                await tokens.verify(token)
                await elsewhere.verify(token)
        clock.seconds += 10
        await elsewhere.refresh()
    assert len(used) == 2
    keys = await database.signing_keys.list()
    assert keys[0].retire_at == keys[1].not_before + OVERLAP_SECONDS
    assert refresh_interval < PUBLISH_SECONDS


async def test_a_key_nobody_told_us_of_is_looked_up_once_a_second(
    tokens: TokenService, elsewhere: TokenService, database: Database, clock: JumpingClock
) -> None:
    await elsewhere.start()
    await elsewhere.rotate()
    clock.seconds += PUBLISH_SECONDS + 1
    issued = await elsewhere.issue(alice(clock), ALICE_APP)
    counted = CountedKeys(database)
    assert (await tokens.verify(issued.token)).principal.user == "alice"
    assert counted.reads == 1
    stranger = jwt.encode({}, "x" * 64, "HS256", headers={"kid": "unknown"})
    forged = jwt.encode({}, tokens._keys[next(iter(tokens._keys))].private, "EdDSA")
    unknown = [
        jwt.encode(
            {}, tokens._keys[next(iter(tokens._keys))].private, "EdDSA", headers={"kid": str(n)}
        )
        for n in range(50)
    ]
    for token in (stranger, forged, *unknown):
        with pytest.raises(CredentialsInvalid):
            await tokens.verify(token)
    assert counted.reads == 1
    clock.seconds += 1
    for token in unknown:
        with pytest.raises(CredentialsInvalid):
            await tokens.verify(token)
    assert counted.reads == 2


async def test_keys_rotate_by_themselves_once_a_month(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    clock.seconds += ROTATION_SECONDS - 1
    await tokens.refresh()
    assert len(await database.signing_keys.list()) == 1
    clock.seconds += ROTATION_SPREAD_SECONDS + 1
    await tokens.refresh()
    await tokens.refresh()
    assert len(await database.signing_keys.list()) == 2
    for _ in range(24):
        clock.seconds += ROTATION_SECONDS + ROTATION_SPREAD_SECONDS
        await tokens.refresh()
    assert len(await database.signing_keys.list()) == 26, "logins that they signed go on"
    issued = await tokens.issue(alice(clock), ALICE_APP)
    assert (await tokens.verify(issued.token)).principal.user == "alice"


async def test_a_key_that_was_removed_voids_its_tokens(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    issued = await tokens.issue(alice(clock), ALICE_APP)
    await tokens.verify(issued.token)
    first = (await database.signing_keys.list())[0]
    await tokens.rotate()
    await database.signing_keys.remove(first.key_id)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)
    # The new key's time has not come, but there is nothing else to sign with.
    await tokens.verify((await tokens.issue(alice(clock), ALICE_APP)).token)


async def test_what_is_remembered_of_tokens_is_bounded(
    tokens: TokenService, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.registry.token_service.VERIFIED_MAX", 2)
    for number in range(5):
        issued = await tokens.issue(alice(clock), [Access(f"alice/{number}", ALL_ACTIONS)])
        await tokens.verify(issued.token)
    assert len(tokens._verified) == 2


class TestWhileTheDatabaseIsAway:
    async def test_tokens_are_issued_and_verified(
        self, tokens: TokenService, away: Away, clock: JumpingClock
    ) -> None:
        principal = alice(clock)
        away.begin()
        issued = await tokens.issue(principal, ALICE_APP)
        assert (await tokens.verify(issued.token)).access == {"alice/app": ALL_ACTIONS}
        assert away.refused == 0, "nothing is read or written for one's own repositories"

    async def test_a_refresh_that_fails_keeps_keys_and_revocations(
        self, tokens: TokenService, accounts: Accounts, away: Away, clock: JumpingClock
    ) -> None:
        issued = await tokens.issue(alice(clock), ALICE_APP)
        await accounts.add_user("bob", "bob's password", actor=ACTOR)
        bob = Principal("bob", proven=clock.now(), generation=0)
        await accounts.remove_user("bob", actor=ACTOR)
        await tokens.refresh()
        away.begin()
        with pytest.raises(DatabaseUnavailable):
            await tokens.refresh()
        assert (await tokens.verify(issued.token)).principal == alice(clock)
        with pytest.raises(CredentialsInvalid):
            await tokens.issue(bob, ALICE_APP)
        assert await tokens.granted(bob, [Access("bob/app", ALL_ACTIONS)]) == []

    async def test_only_what_was_public_lately_is_granted_to_others(
        self, tokens: TokenService, database: Database, away: Away, clock: JumpingClock
    ) -> None:
        """A private repository must not be told from one that does not exist (I7)."""
        for name, public in (("bob/open", True), ("bob/closed", False)):
            await database.repositories.set_public(
                name, public=public, now=clock.now(), actor=ACTOR
            )
            await tokens.granted(ANONYMOUS, [Access(name, frozenset({PULL}))])
        away.begin()
        opened = [Access("bob/open", frozenset({PULL}))]
        assert await tokens.granted(ANONYMOUS, [Access("bob/open", ALL_ACTIONS)]) == opened
        for name in ("bob/closed", "bob/absent"):
            with pytest.raises(DatabaseUnavailable):
                await tokens.granted(ANONYMOUS, [Access(name, ALL_ACTIONS)])
        clock.seconds += PUBLIC_SECONDS_MAX + 1
        with pytest.raises(DatabaseUnavailable):
            await tokens.granted(ANONYMOUS, [Access("bob/open", ALL_ACTIONS)])

    async def test_a_refresh_token_redeemed_lately_still_counts(
        self, tokens: TokenService, away: Away, clock: JumpingClock
    ) -> None:
        known = await tokens.refresh_token(alice(clock))
        clock.seconds += 1
        other = await tokens.refresh_token(alice(clock))
        first = await tokens.redeem(known)
        away.begin()
        clock.seconds += AWAY_SECONDS_MAX - 1
        again = await tokens.redeem(known)
        assert (again, again.proven) == (first, first.proven)
        with pytest.raises(DatabaseUnavailable):
            await tokens.redeem(other)
        clock.seconds += 1
        with pytest.raises(DatabaseUnavailable):
            await tokens.redeem(known)

    async def test_one_that_was_refused_does_not(
        self, tokens: TokenService, accounts: Accounts, away: Away, clock: JumpingClock
    ) -> None:
        token = await tokens.refresh_token(alice(clock))
        await tokens.redeem(token)
        await accounts.set_password("alice", "another password", actor=ACTOR)
        with pytest.raises(CredentialsInvalid):
            await tokens.redeem(token)
        away.begin()
        with pytest.raises(DatabaseUnavailable):
            await tokens.redeem(token)

    async def test_the_owner_with_a_token_for_pulling_asks_nobody(
        self, tokens: TokenService, away: Away, clock: JumpingClock
    ) -> None:
        """Whether a repository is public makes no difference to who may pull it anyway."""
        narrow = Principal("alice", "t", frozenset({PULL}), proven=clock.now())
        away.begin()
        granted = await tokens.granted(narrow, ALICE_APP)
        assert granted == [Access("alice/app", frozenset({PULL}))]
