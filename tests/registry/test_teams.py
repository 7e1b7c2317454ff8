"""Tokens by roles: what is granted, when that ends, and what the database is asked."""

from collections.abc import Sequence

import pytest

from tests.contracts.metadata_values import ACTOR, user
from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.scopes import ALL_ACTIONS, Access, Action
from treescale.errors import CredentialsInvalid, DatabaseUnavailable
from treescale.metadata.database import Database
from treescale.metadata.organisations import ANONYMOUS_SETTING
from treescale.registry.token_service import TokenService

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
WANTED = [Access("acme/app", ALL_ACTIONS)]


@pytest.fixture
async def team(database: Database) -> Database:
    """An organisation of bob's, in which alice has no role yet."""
    await database.users.add(user("bob"), actor=ACTOR)
    await database.organisations.add("acme", "bob", actor=ACTOR)
    return database


async def grant(database: Database, role: str, glob: str = "*") -> None:
    await database.organisations.grant("acme", "alice", role=role, repository=glob, actor=ACTOR)


async def alice(database: Database, clock: JumpingClock, **limits: object) -> Principal:
    """Alice as her credential is compared with the database now."""
    found = await database.users.get("alice")
    return Principal("alice", proven=clock.now(), generation=found.generation, **limits)  # type: ignore[arg-type]


async def given(
    tokens: TokenService, who: Principal, wanted: Sequence[Access] = WANTED
) -> set[Action]:
    return {action for one in await tokens.granted(who, wanted) for action in one.actions}


async def test_a_role_gives_what_the_policy_says(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    for role, glob, expected in (
        ("reader", "*", {PULL}),
        ("writer", "*", {PULL, PUSH}),
        ("maintainer", "*", set(ALL_ACTIONS)),
        ("owner", "*", set(ALL_ACTIONS)),
    ):
        await grant(team, role, glob)
        assert await given(tokens, await alice(team, clock)) == expected
    narrow = await alice(team, clock, token_id="t", allow=frozenset({PUSH}))
    assert await given(tokens, narrow) == {PUSH}
    other = await alice(team, clock, token_id="t", repository_glob="alice/*")
    assert await given(tokens, other) == set()


async def test_a_role_for_a_pattern_ends_where_that_does(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    await grant(team, "writer", "acme/a*")
    who = await alice(team, clock)
    assert await given(tokens, who) == {PULL, PUSH}
    assert await given(tokens, who, [Access("acme/web", ALL_ACTIONS)]) == set()


async def test_a_bearer_token_is_void_once_a_role_has_changed(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    await grant(team, "writer")
    issued = await tokens.issue(await alice(team, clock), WANTED)
    await tokens.refresh()
    assert (await tokens.verify(issued.token)).access == {"acme/app": {PULL, PUSH}}
    await team.organisations.revoke("acme", "alice", repository=None, actor=ACTOR)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)
    assert await given(tokens, await alice(team, clock)) == set()


async def test_without_its_generation_a_role_outlives_its_end(
    tokens: TokenService, team: Database, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: nobody hears of the end where no number is drawn."""
    await grant(team, "writer")
    issued = await tokens.issue(await alice(team, clock), WANTED)
    monkeypatch.setattr("treescale.metadata.organisations.void", lambda *_: None)
    await team.organisations.revoke("acme", "alice", repository=None, actor=ACTOR)
    await tokens.refresh()
    assert (await tokens.verify(issued.token)).access


async def test_a_login_outlives_a_role(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    await database.users.add(user("bob"), actor=ACTOR)
    await database.organisations.add("acme", "bob", actor=ACTOR)
    await tokens.refresh()
    login = await tokens.refresh_token(await alice(database, clock))
    await grant(database, "reader")
    await tokens.refresh()
    assert (await tokens.redeem(login)).user == "alice"


async def test_internal_is_for_whoever_is_signed_in(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    now = clock.now()
    await team.repositories.set_visibility("acme/app", "internal", now=now, actor=ACTOR)
    assert await given(tokens, await alice(team, clock)) == {PULL}
    assert await given(tokens, ANONYMOUS) == set()


async def test_nothing_anonymous_means_nothing(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    await team.repositories.set_visibility("acme/app", "public", now=clock.now(), actor=ACTOR)
    issued = await tokens.issue(ANONYMOUS, WANTED)
    assert issued.granted == (Access("acme/app", frozenset({PULL})),)
    await team.settings.put(ANONYMOUS_SETTING, "off")
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid, match="log in"):
        await tokens.verify(issued.token)
    assert (await tokens.issue(ANONYMOUS, WANTED)).granted == ()
    assert await given(tokens, await alice(team, clock)) == {PULL}


async def test_a_role_counts_for_a_while_when_the_database_is_away(
    tokens: TokenService, team: Database, clock: JumpingClock
) -> None:
    await grant(team, "reader")
    who = await alice(team, clock)
    pull = [Access("acme/app", frozenset({PULL}))]
    assert await given(tokens, who, pull) == {PULL}
    away = Away(team)
    away.begin()
    assert await given(tokens, who, pull) == {PULL}
    with pytest.raises(DatabaseUnavailable):
        await tokens.granted(who, [Access("other/app", frozenset({PULL}))])
    away.end()


async def test_of_ones_own_nothing_is_asked(
    tokens: TokenService, database: Database, clock: JumpingClock
) -> None:
    who = await alice(database, clock)
    away = Away(database)
    away.begin()
    assert await given(tokens, who, [Access("alice/app", ALL_ACTIONS)]) == set(ALL_ACTIONS)
    assert not away.refused
    away.end()
