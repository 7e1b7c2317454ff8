"""`/users` and `/tokens`: accounts for administrators, one's own for everybody, in pages."""

import aiohttp

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.contracts.metadata_values import ACTOR
from treescale.auth.scopes import TokenScope
from treescale.registry.accounts import TokenTerms

NEW = {"name": "carol", "password": "a password of hers"}


async def api_token(registry: Running, session: aiohttp.ClientSession, user: str) -> Client:
    """Be somebody with an access token for the API."""
    terms = TokenTerms("api", frozenset({TokenScope.API}))
    text, _ = await registry.parts.accounts.create_token(user, terms, actor=ACTOR)
    return Client(session, registry.url, user, text)


async def test_administrators_look_after_accounts(root: Client, alice: Client) -> None:
    made = (await ask(root, "POST", "/users", NEW)).expect(200)
    assert (made.json["name"], made.json["admin"]) == ("carol", False)
    assert NEW["password"].encode() not in made.body
    again = problem(await ask(root, "POST", "/users", NEW), 409, "exists")
    assert again["id"] == "carol"
    listed = (await ask(root, "GET", "/users?n=2")).expect(200)
    assert [one["name"] for one in listed.json["users"]] == ["alice", "bob"]
    more = (await ask(root, "GET", f"/users?n=2&after={listed.json['next']}")).expect(200)
    assert [one["name"] for one in more.json["users"]] == ["carol", "root"]
    assert (await ask(root, "GET", "/users/carol")).expect(200).json == made.json
    for method, path, body in (("GET", "/users", None), ("POST", "/users", NEW)):
        problem(await ask(alice, method, path, body), 403, "forbidden")
    problem(await ask(alice, "DELETE", "/users/carol"), 403, "forbidden")
    assert (await ask(root, "DELETE", "/users/carol")).expect(200).json["name"] == "carol"
    problem(await ask(root, "DELETE", "/users/carol"), 404, "unknown")


async def test_everybody_sees_and_changes_their_own(alice: Client, root: Client) -> None:
    assert (await ask(alice, "GET", "/users/alice")).expect(200).json["name"] == "alice"
    hidden = problem(await ask(alice, "GET", "/users/bob"), 404, "unknown")
    unknown = problem(await ask(alice, "GET", "/users/nobody"), 404, "unknown")
    assert hidden["detail"].replace("bob", "nobody") == unknown["detail"]
    another = {"password": "another password"}
    problem(await ask(alice, "PUT", "/users/bob/password", another), 404, "unknown")
    (await ask(alice, "PUT", "/users/alice/password", another)).expect(200)
    changed = Client(alice.session, alice.url, "alice", another["password"])
    (await ask(changed, "GET", "/users/alice")).expect(200)
    weak = await ask(changed, "PUT", "/users/alice/password", {"password": "short"})
    assert "at least 8" in problem(weak, 400, "refused")["detail"]
    (await ask(root, "PUT", "/users/alice/password", {"password": PASSWORD})).expect(200)


async def test_no_access_token_makes_a_secret(registry: Running, root: Client) -> None:
    bearer = await api_token(registry, root.session, "root")
    (await ask(bearer, "GET", "/users")).expect(200)
    for method, path, body in (
        ("POST", "/users", NEW),
        ("PUT", "/users/root/password", {"password": "another password"}),
        ("POST", "/tokens", {"name": "more"}),
    ):
        told = problem(await ask(bearer, method, path, body), 403, "password")
        assert "with the password" in told["detail"]
    (await ask(root, "GET", "/users")).expect(200)


async def test_tokens_come_in_pages_and_none_twice(root: Client) -> None:
    for name in ("a", "b", "c"):
        (await ask(root, "POST", "/tokens", {"name": name, "user": "bob"})).expect(200)
    again = problem(await ask(root, "POST", "/tokens", {"name": "b", "user": "bob"}), 409, "exists")
    seen, path = list[str](), "/tokens?user=bob&n=1"
    while path:
        page = (await ask(root, "GET", path)).expect(200)
        seen += [one["name"] for one in page.json["tokens"]]
        if page.json["tokens"][0]["name"] == "b":
            assert page.json["tokens"][0]["id"] == again["id"]
        path = page.headers.get("Link", "").partition("/api/v1")[2].partition(">")[0]
    assert seen == ["a", "b", "c"]
    problem(await ask(root, "GET", "/tokens?user=bob&after=x"), 400, "page")


async def test_no_access_token_is_made_that_ends_on_no_date(root: Client) -> None:
    for expires in ("9000y", "99999y", "101y"):
        body = {"name": "late", "expires": expires}
        told = problem(await ask(root, "POST", "/tokens", body), 400, "request")
        assert "none" in told["detail"]
    (await ask(root, "POST", "/tokens", {"name": "late", "expires": "100y"})).expect(200)
    [row] = (await ask(root, "GET", "/tokens")).expect(200).json["tokens"]
    assert row["expires"].startswith("21")


async def test_one_of_0_1_0_that_ends_on_no_date_is_listed(registry: Running, root: Client) -> None:
    terms = TokenTerms("late", lasts_seconds=99_999 * 365 * 86_400.0)
    await registry.parts.accounts.create_token("root", terms, actor=ACTOR)
    [row] = (await ask(root, "GET", "/tokens")).expect(200).json["tokens"]
    assert row["expires"] == "9999-12-31T00:00:00Z"
