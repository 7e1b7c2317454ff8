"""Members: roles given, changed, taken away; the last owner; who leaves."""

import re

from tests.api.client import Client
from tests.console.asked import ask
from tests.console.web.settings.conftest import At

HERE = "/acme/-/members"


async def roles(who: Client, namespace: str = "acme") -> set[tuple[str, str, str]]:
    found = (await ask(who, "GET", f"/organisations/{namespace}/members")).expect(200).json
    return {(one["user"], one["role"], one["repository"]) for one in found["members"]}


async def test_an_owner_gives_changes_and_takes_roles(at: At, alice: Client, bob: Client) -> None:
    assert bob.user
    owner = await at("alice")
    shown = await owner.get(HERE)
    for text in ("reader", "writer", "maintainer", "also looks after members"):
        assert text in shown.words
    moved = (await owner.post(HERE, user="bob", role="writer", repository="acme/web-*")).expect(303)
    assert "acme/web-*" in (await owner.get(moved.location)).words
    assert ("bob", "writer", "acme/web-*") in await roles(alice)
    (await owner.post(HERE, user="bob", role="reader", repository="acme/web-*")).expect(303)
    assert ("bob", "reader", "acme/web-*") in await roles(alice)
    (await owner.post(f"{HERE}/revoke", user="bob", repository="acme/web-*")).expect(303)
    assert "bob" not in {user for user, _, _ in await roles(alice)}


async def test_what_is_refused_is_said_beside_the_form(at: At) -> None:
    owner = await at("alice")
    for fields, status, said in (
        ({"user": "nobody", "role": "writer", "repository": "*"}, 404, "no user nobody"),
        ({"user": "", "role": "writer", "repository": "*"}, 404, "no user"),
        ({"user": "reader", "role": "king", "repository": "*"}, 400, "is not a role"),
        (
            {"user": "reader", "role": "writer", "repository": "else/*"},
            400,
            "matches no repository",
        ),
        (
            {"user": "reader", "role": "owner", "repository": "acme/a"},
            400,
            "an owner is one of all",
        ),
    ):
        shown = await owner.post(HERE, **fields)
        assert said in shown.expect(status).words
        assert "Give somebody a role" in shown.words
        assert f'value="{fields["repository"]}"' in shown.text
    for fields in ({"user": "alice", "repository": "*"}, {"user": "alice"}):
        shown = (await owner.post(f"{HERE}/revoke", **fields)).expect(409)
        assert "would have no owner" in shown.words
    shown = (await owner.post(HERE, user="alice", role="reader", repository="*")).expect(409)
    assert "would have no owner" in shown.words


async def test_others_see_nobody_and_may_leave(at: At, alice: Client) -> None:
    reader = await at("reader")
    shown = (await reader.get(HERE)).expect(200)
    assert "Owners see who has a role here." in shown.words
    assert "maintainer" not in shown.words
    (await reader.post(f"{HERE}/revoke", user="writer")).expect(403)
    moved = (await reader.post(f"{HERE}/revoke", user="reader")).expect(303)
    assert moved.location == "/?done=members_left"
    assert "reader" not in {user for user, _, _ in await roles(alice)}
    (await reader.get(HERE)).expect(404)


async def test_a_namespace_of_ones_own_has_members_too(at: At, alice: Client) -> None:
    owner = await at("alice")
    shown = await owner.get("/alice/-/members")
    assert "alice owns this namespace without a role." in shown.words
    fields = {"user": "reader", "role": "reader", "repository": "alice/app"}
    (await owner.post("/alice/-/members", **fields)).expect(303)
    assert await roles(alice, "alice") == {("reader", "reader", "alice/app")}
    assert re.search(
        r"Revoke reader of reader for alice/app", (await owner.get("/alice/-/members")).text
    )
