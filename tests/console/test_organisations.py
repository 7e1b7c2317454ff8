"""`/organisations` and `/visibility`: who may see and change what, and what others are told."""

import pytest
from sqlalchemy import select

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, names, problem
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database
from treescale.metadata.schema import events

ACME = "/organisations/acme"


@pytest.fixture
async def team(registry: Running, root: Client, alice: Client, bob: Client) -> Database:
    """Alice's organisation acme, which an administrator made, with one repository."""
    assert bob.user
    made = await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})
    assert made.expect(200).json["kind"] == "organisation"
    await alice.repository("acme/app").push_image("1", LAYER)
    return registry.parts.database


@pytest.mark.usefixtures("team")
async def test_owners_grant_and_revoke(alice: Client, bob: Client, root: Client) -> None:
    member = f"{ACME}/members/bob"
    problem(await ask(bob, "GET", ACME), 404, "unknown")
    problem(await ask(bob, "PUT", member, {"role": "owner"}), 404, "unknown")
    found = (await ask(alice, "PUT", member, {"role": "reader"})).expect(200).json["members"]
    assert [(one["user"], one["role"]) for one in found] == [("alice", "owner"), ("bob", "reader")]
    assert (await ask(bob, "GET", ACME)).expect(200).json["name"] == "acme"
    assert names(await ask(bob, "GET", "/repositories")) == ["acme/app"]
    (await ask(bob, "GET", "/repositories/acme/app")).expect(200)
    problem(await ask(bob, "PUT", member, {"role": "owner"}), 403, "forbidden")
    problem(await ask(bob, "GET", f"{ACME}/members"), 403, "forbidden")
    problem(await ask(bob, "DELETE", f"{ACME}/members/alice"), 403, "forbidden")
    problem(await ask(bob, "DELETE", ACME), 403, "forbidden")
    problem(await ask(alice, "PUT", member, {"role": "king"}), 400, "request")
    problem(await ask(alice, "PUT", f"{ACME}/members/no", {"role": "reader"}), 404, "unknown")
    problem(await ask(alice, "DELETE", f"{ACME}/members/alice"), 409, "last-owner")
    (await ask(bob, "DELETE", member)).expect(200)
    problem(await ask(bob, "GET", ACME), 404, "unknown")
    (await ask(root, "GET", f"{ACME}/members")).expect(200)


@pytest.mark.usefixtures("team")
async def test_what_one_may_not_see_is_as_what_is_not_there(bob: Client) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "", {"visibility": "public"}),
        ("GET", "/members", None),
    ):
        there, absent = [
            (await ask(bob, method, f"/organisations/{name}{path}", body)).json
            for name in ("acme", "none")
        ]
        for one in (there, absent):
            del one["request_id"]
        assert there == {**absent, "detail": absent["detail"].replace("none", "acme")}
    shown = {"visibility": "public"}
    there, absent = [
        (await ask(bob, "PUT", f"/visibility/acme/{name}", shown)).json for name in ("app", "none")
    ]
    assert there["detail"].replace("acme/app", "") == absent["detail"].replace("acme/none", "")
    assert there["status"] == absent["status"] == 404


async def test_a_nul_is_refused_wherever_it_stands(root: Client) -> None:
    """No text of PostgreSQL has one; whoever asks for it has made a mistake, and not the server."""
    role = {"role": "reader"}
    for method, path, body in (
        ("GET", "/organisations/%00", None),
        ("PUT", "/organisations/acme/members/a%00b", role),
        ("GET", "/organisations?after=%00", None),
        ("POST", "/organisations", {"name": "acme", "owner": "a\0b"}),
        ("PUT", "/organisations/acme/members/alice", role | {"repository": "acme/\0"}),
    ):
        told = (await ask(root, method, path, body)).expect(400).json
        assert "NUL" in told["detail"], (method, path)
    made = {"name": "acme", "owner": "\\u0000"}
    told = (await ask(root, "POST", "/organisations", made)).json
    assert "NUL" not in told["detail"], "a backslash, and no escape"


async def test_an_administrator_reads_no_content_unless_she_grants_it_to_herself(
    team: Database, root: Client
) -> None:
    (await ask(root, "PUT", ACME, {"visibility": "internal"})).expect(200)
    (await root.repository("acme/app").get("manifests/1")).expect(401)
    (await ask(root, "PUT", f"{ACME}/members/root", {"role": "reader"})).expect(200)
    root.tokens.clear()
    (await root.repository("acme/app").get("manifests/1")).expect(200)
    rows = await team.connections.rows(select(events).where(events.c.kind == "member.granted"))
    assert [row.actor for row in rows if '"root"' in row.payload] == ["root"]


@pytest.mark.usefixtures("team")
async def test_maintainers_open_and_close(alice: Client, bob: Client) -> None:
    path = "/visibility/acme/app"
    (await ask(alice, "PUT", f"{ACME}/members/bob", {"role": "writer"})).expect(200)
    problem(await ask(bob, "PUT", path, {"visibility": "public"}), 403, "forbidden")
    role = {"role": "maintainer", "repository": "acme/a*"}
    (await ask(alice, "PUT", f"{ACME}/members/bob", role)).expect(200)
    (await ask(bob, "PUT", path, {"visibility": "internal"})).expect(200)
    found = (await ask(bob, "GET", "/repositories/acme/app")).expect(200).json
    assert (found["public"], found["visibility"]) == (False, "internal")
    problem(await ask(bob, "PUT", "/visibility/acme", {"visibility": "public"}), 400, "name")
    problem(await ask(bob, "PUT", path, {"visibility": "open"}), 400, "request")


@pytest.mark.usefixtures("team")
async def test_lists_are_of_what_one_belongs_to(alice: Client, bob: Client, root: Client) -> None:
    for who, expected in ((alice, ["acme"]), (bob, []), (root, ["acme"])):
        found = (await ask(who, "GET", "/organisations")).expect(200).json
        assert [one["name"] for one in found["organisations"]] == expected
    problem(
        await ask(bob, "POST", "/organisations", {"name": "b", "owner": "bob"}), 403, "forbidden"
    )
    taken = await ask(root, "POST", "/organisations", {"name": "acme", "owner": "bob"})
    problem(taken, 409, "exists")


async def test_removing_one_deletes_what_it_has(team: Database, alice: Client) -> None:
    gone = (await ask(alice, "DELETE", ACME)).expect(200).json
    assert gone == {"name": "acme", "repositories": ["acme/app"]}
    assert await team.repositories.list_all("", 9) == []


@pytest.mark.usefixtures("team")
async def test_maintainers_have_webhooks(alice: Client, bob: Client, registry: Running) -> None:
    hook = {"scope": "acme/*", "url": "https://hooks.example.com/in"}
    problem(await ask(bob, "POST", "/hooks", hook), 403, "forbidden")
    database = registry.parts.database
    await database.organisations.grant(
        "acme", "bob", role="maintainer", repository="*", actor=ACTOR
    )
    made = (await ask(bob, "POST", "/hooks", hook)).expect(200).json["hook"]["id"]
    for who in (alice, bob):
        found = (await ask(who, "GET", "/hooks")).expect(200).json["hooks"]
        assert [one["id"] for one in found] == [made]
    of_members = {**hook, "scope": "acme", "kinds": ["image.*", "*"]}
    refused = problem(await ask(bob, "POST", "/hooks", of_members), 403, "forbidden")
    assert "owners alone" in refused["detail"]
    (await ask(alice, "POST", "/hooks", of_members)).expect(200)
    (await ask(bob, "POST", "/hooks", {**hook, "scope": "acme", "kinds": ["hook.*"]})).expect(200)
    await database.organisations.revoke("acme", "bob", repository=None, actor=ACTOR)
    problem(await ask(bob, "GET", f"/hooks/{made}"), 404, "unknown")
