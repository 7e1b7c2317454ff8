"""`/account`, `/users/…`, `/invitations`, `/sign-on`: for whom they are, and what they need."""

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.console.test_users import api_token
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.organisations import PASSWORDS_SETTING

CORP = {"name": "corp", "issuer": "https://login.example", "client_id": "ts"}
FOR_ADMINISTRATORS = (
    ("PUT", "/users/alice/suspended", {"suspended": True}),
    ("PUT", "/users/alice/admin", {"admin": True}),
    ("DELETE", "/users/alice/password", None),
    ("DELETE", "/users/alice/sessions", None),
    ("POST", "/users/alice/reset", None),
    ("GET", "/invitations", None),
    ("POST", "/invitations", {"name": "carol"}),
    ("DELETE", "/invitations/none", None),
    ("GET", "/sign-on", None),
    ("POST", "/sign-on", CORP),
    ("GET", "/sign-on/corp", None),
    ("DELETE", "/sign-on/corp", None),
)


async def test_what_is_for_administrators_is_for_nobody_else(alice: Client) -> None:
    for method, path, body in FOR_ADMINISTRATORS:
        problem(await ask(alice, method, path, body), 403, "forbidden")


async def test_what_lets_somebody_in_takes_a_password(
    registry: Running, session: aiohttp.ClientSession, root: Client, alice: Client
) -> None:
    assert root.user
    bearer = await api_token(registry, session, "root")
    for method, path, body in (
        ("PUT", "/users/alice/admin", {"admin": True}),
        ("POST", "/users/alice/reset", None),
        ("POST", "/invitations", {"name": "carol", "admin": True}),
        ("POST", "/sign-on", CORP),
        ("POST", "/issuers", {"issuer": "https://token.example"}),
        ("DELETE", "/account/identities/i1", None),
    ):
        problem(await ask(bearer, method, path, body), 403, "password")
    (await ask(bearer, "PUT", "/users/alice/suspended", {"suspended": True})).expect(200)
    own = await api_token(registry, session, "bob")
    changed = {"old": PASSWORD, "new": "another password"}
    problem(await ask(own, "PUT", "/account/password", changed), 403, "password")
    assert alice.user


async def test_no_other_site_has_a_browser_send_a_password(root: Client) -> None:
    """One that was typed into a browser goes along with what any page posts from it."""
    headers = {**root.basic(), "Sec-Fetch-Site": "cross-site"}
    path = "/api/v1/users/bob/reset"
    for more in ({}, {"Origin": "https://evil.example"}):
        problem(await root.raw("POST", path, headers | more), 403, "forbidden")
    (await root.raw("GET", "/api/v1/users", headers)).expect(200)
    (await root.raw("POST", path, {**headers, "Sec-Fetch-Site": "same-origin"})).expect(200)
    (await root.raw("POST", path, root.basic())).expect(200)


async def test_an_account_is_shown_to_its_user(registry: Running, alice: Client) -> None:
    await registry.parts.database.organisations.add("acme", "alice", actor=ACTOR)
    shown = (await ask(alice, "GET", "/account")).expect(200).json
    assert (shown["name"], shown["admin"], shown["password"]) == ("alice", False, True)
    assert shown["roles"] == [{"namespace": "acme", "role": "owner", "repository": "*"}]
    assert shown["identities"] == []


async def test_the_password_is_changed_by_who_knows_it(alice: Client) -> None:
    wrong = {"old": "another one", "new": "another password"}
    problem(await ask(alice, "PUT", "/account/password", wrong), 401, "credentials")
    right = {"old": PASSWORD, "new": "another password"}
    (await ask(alice, "PUT", "/account/password", right)).expect(200)
    changed = Client(alice.session, alice.url, "alice", "another password")
    (await ask(changed, "GET", "/account")).expect(200)


async def test_administrators_suspend_and_resume(root: Client, alice: Client) -> None:
    path = "/users/alice/suspended"
    row = (await ask(root, "PUT", path, {"suspended": True})).expect(200).json
    assert row["suspended"] is not None
    problem(
        await ask(root, "PUT", "/users/root/suspended", {"suspended": True}),
        409,
        "last-administrator",
    )
    problem(await ask(root, "PUT", "/users/no/suspended", {"suspended": True}), 404, "unknown")
    row = (await ask(root, "PUT", path, {"suspended": False})).expect(200).json
    assert row["suspended"] is None
    row = (await ask(root, "DELETE", "/users/alice/password")).expect(200).json
    assert row["password"] is False
    problem(await ask(alice, "GET", "/account"), 401, "credentials")


async def test_a_demoted_administrator_is_one_no_more(root: Client, alice: Client) -> None:
    (await ask(root, "PUT", "/users/alice/admin", {"admin": True})).expect(200)
    (await ask(alice, "GET", "/sign-on")).expect(200)
    (await ask(alice, "PUT", "/users/root/admin", {"admin": False})).expect(200)
    problem(await ask(root, "GET", "/sign-on"), 403, "forbidden")
    problem(
        await ask(alice, "PUT", "/users/alice/admin", {"admin": False}), 409, "last-administrator"
    )


async def test_a_provider_never_shows_its_secret(root: Client) -> None:
    made = await ask(root, "POST", "/sign-on", CORP | {"client_secret": "hidden words"})
    assert made.expect(200).json["has_secret"] is True
    expected = "https://registry.example.com/-/sign-on/corp/callback"
    assert made.json["redirect_uri"] == expected
    for path in ("/sign-on", "/sign-on/corp"):
        assert b"hidden words" not in (await ask(root, "GET", path)).expect(200).body
    problem(await ask(root, "POST", "/sign-on", CORP), 409, "exists")
    problem(await ask(root, "POST", "/sign-on", CORP | {"issuer": "ftp://x"}), 400, "request")
    problem(await ask(root, "POST", "/sign-on", CORP | {"name": "A B"}), 400, "name")
    (await ask(root, "DELETE", "/sign-on/corp")).expect(200)
    problem(await ask(root, "DELETE", "/sign-on/corp"), 404, "unknown")


@pytest.mark.usefixtures("bob")
async def test_without_passwords_administrators_have_theirs(
    registry: Running, root: Client, alice: Client, session: aiohttp.ClientSession
) -> None:
    refresh = await alice.refresh_token()
    bearer = await api_token(registry, session, "alice")
    parts = registry.parts
    await parts.database.settings.put(PASSWORDS_SETTING, "off")
    await parts.tokens.refresh()
    parts.clock.skip(60)
    said = problem(await ask(alice, "GET", "/account"), 401, "credentials")
    assert "make an access token at /-/account" in said["detail"]
    wrong = Client(session, alice.url, "alice", "a wrong password")
    assert (
        problem(await ask(wrong, "GET", "/account"), 401, "credentials")["detail"] == said["detail"]
    )
    form = f"grant_type=refresh_token&service=r&client_id=t&refresh_token={refresh}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    (await alice.raw("POST", "/token", headers, form.encode())).expect(401)
    (await ask(root, "GET", "/account")).expect(200)
    (await ask(bearer, "GET", "/account")).expect(200)
    await parts.database.settings.remove(PASSWORDS_SETTING)
    await parts.tokens.refresh()
    (await ask(alice, "GET", "/account")).expect(200)
