"""`docker search`, by what docker sends: Basic credentials, or a bearer token with a scope."""

from urllib.parse import quote

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from treescale.auth.scopes import CATALOG, SEARCH
from treescale.console.route import PING_PATH, SEARCH_PATH


@pytest.fixture
async def pushed(registry: Running, alice: Client, bob: Client) -> Running:
    """Three repositories of each; one of bob's is public."""
    for who in (alice, bob):
        for name in (f"{who.user}/app", f"{who.user}/my-app", f"{who.user}/web"):
            await who.repository(name).push_image("v1", name.encode())
    (await ask(bob, "PUT", "/visibility/bob/app", {"visibility": "public"})).expect(200)
    return registry


async def names(who: Client, headers: dict[str, str], term: str = "app", n: int = 25) -> list[str]:
    path = f"{SEARCH_PATH}?q={quote(term)}&n={n}"
    found = (await who.raw("GET", path, headers)).expect(200).json
    assert found["num_results"] == len(found["results"])
    return [one["name"] for one in found["results"]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.usefixtures("pushed")
async def test_who_logs_in_finds_what_they_may_pull(alice: Client, bob: Client) -> None:
    assert await names(alice, alice.basic()) == ["alice/app", "alice/my-app", "bob/app"]
    assert await names(bob, bob.basic()) == ["bob/app", "bob/my-app"]
    assert await names(alice, alice.basic(), "alice/w") == ["alice/web"]
    assert await names(alice, alice.basic(), "nothing-here") == []


@pytest.mark.usefixtures("pushed")
async def test_a_bearer_token_needs_the_scope(alice: Client) -> None:
    for scope in (SEARCH, CATALOG):
        assert await names(alice, bearer(await alice.token(scope)), "b/app") == ["bob/app"]
    of_one = bearer(await alice.token("repository:alice/app:pull"))
    (await alice.raw("GET", f"{SEARCH_PATH}?q=app", of_one)).expect(401)


async def test_an_access_token_finds_what_it_is_for(pushed: Running, alice: Client) -> None:
    made = {"name": "ci", "allow": ["pull"], "repository": "alice/w*", "expires": "1d"}
    secret = (await ask(alice, "POST", "/tokens", made)).expect(200).json["secret"]
    limited = Client(alice.session, pushed.url, "alice", secret)
    assert await names(limited, limited.basic(), "alice") == ["alice/web"]


@pytest.mark.usefixtures("pushed")
async def test_without_credentials_or_sense_it_is_refused(alice: Client) -> None:
    assert (await alice.raw("GET", PING_PATH)).expect(200).json == {"standalone": True}
    refused = (await alice.raw("GET", f"{SEARCH_PATH}?q=app")).expect(401)
    assert "TLS" in refused.json["errors"][0]["message"]
    for query in (
        "",
        "q=",
        "q=app&n=0",
        "q=app&n=x",
        f"q=app&n={'9' * 5000}",
        "q=%ff",
        "q=a%00",
        f"q={'x' * 999}",
    ):
        answer = await alice.raw("GET", f"{SEARCH_PATH}?{query}", alice.basic())
        assert answer.status == 400, query
