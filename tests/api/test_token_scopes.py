"""What each kind of access token opens: one door, or the registry, and never both."""

from typing import Final

import aiohttp
import msgspec
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.contracts.metadata_values import ACTOR
from treescale.auth.access_tokens import RANDOM_BYTES, access_token_text
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Action, Right, TokenScope
from treescale.registry.accounts import TokenTerms
from treescale.registry.login import token_principal

DOORS: Final = {
    "registry": ("GET", "/v2/"),
    "catalog": ("GET", "/v2/_catalog"),
    "pull": ("GET", "/v2/root/app/tags/list"),
    "push": ("POST", "/v2/root/app/blobs/uploads/"),
    "token": ("GET", "/token?scope=repository:root/app:pull,push"),
    "metrics": ("GET", "/metrics"),
    "stop": ("DELETE", "/stopz"),
    "repositories": ("GET", "/api/v1/repositories"),
    "cluster": ("GET", "/api/v1/cluster"),
}
OPENED: Final[dict[frozenset[Right], frozenset[str]]] = {
    ALL_ACTIONS: frozenset({"registry", "catalog", "pull", "push", "token"}),
    frozenset({Action.PULL}): frozenset({"registry", "catalog", "pull", "token"}),
    frozenset({TokenScope.METRICS}): frozenset({"metrics"}),
    frozenset({TokenScope.EVENTS}): frozenset(),
    frozenset({TokenScope.API}): frozenset({"stop", "repositories", "cluster"}),
    frozenset(TokenScope): frozenset({"metrics", "stop", "repositories", "cluster"}),
}


@pytest.fixture
async def root(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be an administrator with a repository."""
    await registry.parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    client = Client(session, registry.url, "root", PASSWORD)
    await client.repository("root/app").push_image("latest", b"a layer")
    return client


async def bearing(registry: Running, who: Client, terms: TokenTerms) -> tuple[Client, str]:
    """Return somebody with an access token like this instead of a password, and its id."""
    text, kept = await registry.parts.accounts.create_token(who.user, terms, actor=ACTOR)
    return Client(who.session, who.url, who.user, text), kept.token_id


async def opened(who: Client) -> frozenset[str]:
    """Return the doors that let this caller in; all others answer 401 and say what is needed."""
    found: set[str] = set()
    for name, (method, path) in DOORS.items():
        answer = await who.raw(method, path, who.basic())
        if answer.status == 403:
            assert path.startswith("/api/"), "the registry tells nobody what is there"
        elif answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith(("Basic ", "Bearer "))
        elif answer.status != 404 or name == "stop":  # this registry is no server of a cluster
            found.add(name)
    return frozenset(found)


async def test_a_token_opens_what_it_was_made_for_and_nothing_else(
    registry: Running, root: Client
) -> None:
    for allow, expected in OPENED.items():
        who, _ = await bearing(registry, root, TokenTerms("one", allow))
        assert await opened(who) == expected, sorted(allow)
    assert await opened(root) == frozenset(DOORS), "a password opens all"


async def test_a_scope_gives_nobody_what_the_user_may_not_see(
    registry: Running, alice: Client
) -> None:
    who, _ = await bearing(registry, alice, TokenTerms("one", frozenset({TokenScope.API})))
    assert await opened(who) == {"repositories"}, "their own"


async def test_a_token_with_a_scope_is_no_password_for_a_bearer_token(
    registry: Running, root: Client
) -> None:
    who, _ = await bearing(registry, root, TokenTerms("one", frozenset({TokenScope.API})))
    form = f"grant_type=password&username=root&password={who.password}".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = (await who.raw("POST", "/token", kind, form)).expect(401, "UNAUTHORIZED")
    assert b"for api" in refused.body
    grant = b"grant_type=refresh_token&refresh_token=none"
    (await who.raw("POST", "/token", kind | who.basic(), grant)).expect(401, "UNAUTHORIZED")


async def test_one_that_is_over_wrong_or_revoked_opens_nothing(
    registry: Running, root: Client
) -> None:
    every = frozenset(TokenScope)
    expired, _ = await bearing(registry, root, TokenTerms("one", every, lasts_seconds=60))
    revoked, token_id = await bearing(registry, root, TokenTerms("two", every))
    wrong = Client(root.session, root.url, "root", access_token_text(bytes(RANDOM_BYTES)))
    foreign = Client(root.session, root.url, "alice", revoked.password)
    assert {"metrics", "stop", "cluster"} < await opened(expired)
    registry.parts.clock.skip(61)
    await registry.parts.accounts.revoke_token(token_id, actor=ACTOR)
    for who in (expired, revoked, wrong, foreign):
        assert await opened(who) == frozenset()


async def test_a_server_that_knows_no_scopes_finds_no_right_in_such_a_token(
    registry: Running, root: Client
) -> None:
    """An earlier version takes the words it knows of `allow`, and passes over all others."""
    for allow in OPENED:
        _, token_id = await bearing(registry, root, TokenTerms("one", allow))
        listed = await registry.parts.accounts.list_tokens("root")
        (kept,) = [one for one in listed if one.token_id == token_id]
        rights = frozenset(action for action in Action if action in kept.allow)
        assert rights == (frozenset() if TokenScope.API in allow else rights)
        assert not rights or token_principal(kept, proven=0.0).is_for_registry


def test_who_is_told_of_by_a_server_that_knows_no_scopes_has_none() -> None:
    """While the database is away servers tell each other whom a credential proved."""
    told = msgspec.json.encode({"user": "root", "token_id": "1", "allow": []})
    principal = msgspec.json.decode(told, type=Principal)
    assert not any(principal.opens(scope) for scope in TokenScope)
    every = Principal("root", "1", frozenset(), scopes=frozenset(TokenScope))
    assert msgspec.json.decode(msgspec.json.encode(every), type=Principal) == every
    assert all(Principal("root").opens(scope) for scope in TokenScope)
    assert not any(Principal("").opens(scope) for scope in TokenScope)
