"""Robots and issuers in the management API: who may make them, and what they may ask."""

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, names, problem
from tests.contracts.metadata_values import ACTOR
from tests.id_tokens import RSA_KEY, jwk, jwks
from tests.tables import each_row
from treescale.auth.access_tokens import is_robot_secret
from treescale.auth.scopes import TokenScope
from treescale.registry.accounts import TokenTerms

ROBOTS = "/organisations/acme/robots"
CI = f"{ROBOTS}/ci"
OPEN_TO_ROBOTS = {
    ("GET", "/openapi.json"),
    ("GET", "/events"),
    ("GET", "/repositories"),
    ("GET", "/repositories/{name}"),
    ("GET", "/repositories/{name}/images"),
    ("GET", "/repositories/{name}/images/{reference}"),
    ("GET", "/repositories/{name}/tags"),
    ("DELETE", "/repositories/{name}/tags/{tag}"),
    ("GET", "/repositories/{name}/manifests/{digest}"),
    ("DELETE", "/repositories/{name}/manifests/{digest}"),
    ("GET", "/explain/{name}"),
    ("POST", "/copies"),
}
ISSUER = "https://issuer.example"
RULE = {"issuer": ISSUER, "claims": {"repository": "acme/app"}}


@pytest.fixture
async def team(registry: Running, root: Client, alice: Client) -> Running:
    """Alice's organisation acme, with two repositories."""
    await registry.parts.database.organisations.add("acme", "alice", actor=ACTOR)
    for name in ("acme/app", "acme/web"):
        await alice.repository(name).push_image("1", LAYER)
    assert root.user
    return registry


async def grant(registry: Running, who: str, role: str, glob: str = "*") -> None:
    await registry.parts.database.organisations.grant(
        "acme", who, role=role, repository=glob, actor=ACTOR
    )


async def made(who: Client, **more: object) -> Client:
    """Make the robot acme+ci, or another; return it as a client."""
    answer = (await ask(who, "POST", ROBOTS, {"name": "ci", **more})).expect(200).json
    return Client(who.session, who.url, answer["robot"]["name"], answer["secret"])


async def test_a_maintainer_makes_lists_and_removes_them(team: Running, bob: Client) -> None:
    await grant(team, "bob", "maintainer")
    ci = await made(bob, allow=["pull", "push", "api"], repository="acme/*", expires="90d")
    assert is_robot_secret(ci.password)
    [row] = (await ask(bob, "GET", ROBOTS)).expect(200).json["robots"]
    assert (row["name"], row["allow"], row["repository"], row["maker"]) == (
        "acme+ci",
        ["pull", "push", "api"],
        "acme/*",
        "bob",
    )
    assert row["last_used"] is None
    await ci.ask_token()
    shown = (await ask(bob, "GET", CI)).expect(200)
    assert shown.json["robot"]["last_address"] == "127.0.0.1"
    assert ci.password not in shown.body.decode()
    problem(await ask(bob, "POST", ROBOTS, {"name": "ci"}), 409, "exists")
    second = (await ask(bob, "POST", f"{CI}/rotate", {})).expect(200).json["secret"]
    assert second != ci.password
    (await ci.ask_token()).expect(200)
    await made(bob, name="other")
    page = (await ask(bob, "GET", f"{ROBOTS}?n=1")).expect(200)
    assert (page.json["next"], "after=ci" in page.headers["Link"]) == ("ci", True)
    (await ask(bob, "DELETE", CI)).expect(200)
    problem(await ask(bob, "GET", CI), 404, "unknown")
    problem(await ask(bob, "DELETE", CI), 404, "unknown")


@each_row(
    ("role", "glob", "status"),
    [
        ("", "", 404),
        ("reader", "*", 403),
        ("writer", "*", 403),
        ("maintainer", "acme/app", 403),
        ("maintainer", "*", 200),
        ("owner", "*", 200),
    ],
)
async def test_who_may(team: Running, bob: Client, role: str, glob: str, status: int) -> None:
    held = await team.parts.database.organisations.holding("bob", "acme")
    if held.grants:
        await team.parts.database.organisations.revoke("acme", "bob", repository=None, actor=ACTOR)
    if role:
        await grant(team, "bob", role, glob)
    (await ask(bob, "GET", ROBOTS)).expect(status)
    name = {"name": f"{role or 'no'}{len(glob)}"}
    (await ask(bob, "POST", ROBOTS, name)).expect(status)
    absent = 404 if status == 200 else status
    for method, path, body in (
        ("POST", f"{ROBOTS}/none/rotate", {}),
        ("POST", f"{ROBOTS}/none/rules", RULE),
        ("DELETE", f"{ROBOTS}/none/rules/x", None),
        ("DELETE", f"{ROBOTS}/none", None),
        ("GET", f"{ROBOTS}/none", None),
    ):
        (await ask(bob, method, path, body)).expect(absent)


async def test_nobody_gives_more_than_she_has(team: Running, root: Client, alice: Client) -> None:
    """An administrator manages robots, and has no content but what she is granted."""
    await made(alice)
    (await ask(root, "GET", CI)).expect(200)
    for path, body in (
        (ROBOTS, {"name": "other", "allow": ["pull"]}),
        (f"{CI}/rotate", {"now": True}),
        (f"{CI}/rules", RULE),
    ):
        problem(await ask(root, "POST", path, body), 403, "forbidden")
    (await ask(root, "POST", ROBOTS, {"name": "seer", "allow": ["api"]})).expect(200)
    await grant(team, "root", "writer")
    problem(await ask(root, "POST", ROBOTS, {"name": "o", "allow": ["delete"]}), 403, "forbidden")
    (await ask(root, "POST", ROBOTS, {"name": "o", "allow": ["pull", "push"]})).expect(200)
    (await ask(root, "DELETE", CI)).expect(200)


async def test_an_access_token_makes_none(team: Running, alice: Client) -> None:
    await made(alice)
    terms = TokenTerms("t", frozenset({TokenScope.API}))
    text, _ = await team.parts.accounts.create_token("alice", terms, actor=ACTOR)
    bearer = Client(alice.session, alice.url, "alice", text)
    (await ask(bearer, "GET", ROBOTS)).expect(200)
    for path, body in ((ROBOTS, {"name": "x"}), (f"{CI}/rotate", {}), (f"{CI}/rules", RULE)):
        (await ask(bearer, "POST", path, body)).expect(403)
    (await ask(bearer, "DELETE", CI)).expect(200)


@each_row(
    ("body", "status"),
    [
        ({"name": "A"}, 400),
        ({"name": "a+b"}, 400),
        ({"name": "a", "allow": []}, 400),
        ({"name": "a", "allow": ["metrics"]}, 400),
        ({"name": "a", "allow": ["fly"]}, 400),
        ({"name": "a", "repository": "other/*"}, 400),
        ({"name": "a", "expires": "soon"}, 400),
        ({"name": "a", "expires": "9000y"}, 400),
        ({"name": "a", "admin": True}, 400),
    ],
)
async def test_what_no_robot_can_be(
    team: Running, alice: Client, body: dict[str, object], status: int
) -> None:
    assert team.url
    (await ask(alice, "POST", ROBOTS, body)).expect(status)


async def test_a_robot_manages_what_its_rights_imply(team: Running, alice: Client) -> None:
    ci = await made(alice, allow=["pull", "api"], repository="acme/app")
    assert names(await ask(ci, "GET", "/repositories")) == ["acme/app"]
    (await ask(ci, "GET", "/repositories/acme/app")).expect(200)
    problem(await ask(ci, "GET", "/repositories/acme/web"), 404, "unknown")
    problem(await ask(ci, "GET", "/events"), 403, "forbidden")
    blind = await made(alice, name="blind", allow=["push", "api"])
    assert names(await ask(blind, "GET", "/repositories")) == []
    plain = await made(alice, name="plain")
    problem(await ask(plain, "GET", "/repositories"), 403, "forbidden")
    assert team.url


async def test_a_robot_promotes_and_deletes_as_far_as_it_pushes_and_deletes(
    team: Running, alice: Client, bob: Client
) -> None:
    """What it may do to repositories by the registry's own API, and nothing more."""
    await bob.repository("bob/app").push_image("1", LAYER)
    app = "/repositories/acme/app"
    digest = (await ask(alice, "GET", f"{app}/images/1")).expect(200).json["digest"]
    robots = {
        name: await made(alice, name=name, allow=[*allow, "api"], repository=glob)
        for name, allow, glob in (
            ("release", ["pull", "push"], "acme/*"),
            ("reader", ["pull"], "acme/*"),
            ("narrow", ["pull", "push", "delete"], "acme/web"),
            ("blind", ["push"], "acme/*"),
            ("cleaner", ["delete"], "acme/app"),
        )
    }
    copies = {"source": "acme/app:1", "target": "acme/web:2"}
    for name, status in (("reader", 403), ("narrow", 404), ("blind", 404), ("release", 200)):
        (await ask(robots[name], "POST", "/copies", copies)).expect(status)
    release = robots["release"]
    for source, target, status in (
        ("acme/app:1", "acme/app:stable", 200),
        ("acme/app:1", "bob/app:2", 403),
        ("bob/app:1", "acme/app:2", 404),
        ("bob/none:1", "acme/app:2", 404),
    ):
        body = {"source": source, "target": target}
        (await ask(release, "POST", "/copies", body)).expect(status)
    shown = (await ask(release, "GET", f"{app}/images/stable")).expect(200).json
    assert (shown["digest"], shown["rights"]) == (digest, ["pull", "push"])
    reads = (f"{app}/images", f"{app}/images/1", f"{app}/tags", f"{app}/manifests/{digest}")
    for path in (*reads, "/explain/acme/app?tag=1"):
        (await ask(robots["reader"], "GET", path)).expect(200)
        problem(await ask(robots["narrow"], "GET", path), 404, "unknown")
        problem(await ask(robots["cleaner"], "GET", path), 404, "unknown")
    deletes = (f"{app}/tags/stable", f"{app}/manifests/{digest}")
    for path in deletes:
        problem(await ask(release, "DELETE", path), 403, "forbidden")
        problem(await ask(robots["narrow"], "DELETE", path), 404, "unknown")
    for path in deletes:
        (await ask(robots["cleaner"], "DELETE", path)).expect(200)
    query = "/audit?namespace=acme&kind=tag.*,image.*"
    found = (await ask(alice, "GET", query)).expect(200).json["entries"]
    assert {"acme+release", "acme+cleaner"} <= {one["actor"] for one in found}
    assert team.url


async def test_a_robot_reads_events_of_what_it_may_pull(
    team: Running, alice: Client, bob: Client
) -> None:
    ci = await made(alice, allow=["pull", "events"], repository="acme/app")
    await bob.repository("bob/app").push_image("1", LAYER)
    found = (await ask(ci, "GET", "/events")).expect(200).json["events"]
    assert {one["repository"] for one in found} == {"acme/app"}
    assert {one["kind"] for one in found} == {"image.pushed"}
    problem(await ask(ci, "GET", "/repositories"), 403, "forbidden")
    assert team.url


async def test_every_other_row_is_closed_to_robots(team: Running, alice: Client) -> None:
    ci = await made(alice, allow=["pull", "push", "delete", "api", "events"])
    document = (await ask(ci, "GET", "/openapi.json")).expect(200).json
    for path, methods in document["paths"].items():
        for method in methods:
            plain = path.removeprefix("/api/v1")
            is_open = (method.upper(), plain) in OPEN_TO_ROBOTS
            if plain != "/openapi.json":
                assert ("Robots" in methods[method]["description"]) is is_open, (method, plain)
            if is_open:
                continue
            filled = plain.replace("{name}", "acme").replace("{", "").replace("}", "")
            refused = await ask(ci, method.upper(), filled)
            problem(refused, 403, "forbidden")
    assert team.url


async def test_owners_are_told_what_became_of_robots(team: Running, alice: Client) -> None:
    await made(alice)
    await ask(alice, "DELETE", CI)
    found = (await ask(alice, "GET", "/events?kind=robot.*")).expect(200).json["events"]
    assert [one["kind"] for one in found] == ["robot.created", "robot.removed"]
    assert team.url


async def test_issuers_are_for_administrators(team: Running, root: Client, alice: Client) -> None:
    await made(alice)
    given = {"issuer": ISSUER, "jwks": jwks(jwk(RSA_KEY, "k1")).decode()}
    (await ask(alice, "POST", "/issuers", given)).expect(403)
    problem(await ask(alice, "POST", f"{CI}/rules", RULE), 404, "unknown")
    row = (await ask(root, "POST", "/issuers", given)).expect(200).json
    assert (row["issuer"], row["keys"]) == (ISSUER, "given")
    (await ask(root, "POST", "/issuers", {"issuer": ISSUER})).expect(200)
    listed = (await ask(root, "GET", "/issuers")).expect(200).json["issuers"]
    assert [(one["issuer"], one["keys"]) for one in listed] == [(ISSUER, "published")]
    rule = (await ask(alice, "POST", f"{CI}/rules", RULE)).expect(200).json
    assert "repository_owner_id" in rule["advice"]
    [shown] = (await ask(alice, "GET", CI)).expect(200).json["rules"]
    assert shown == rule["rule"]
    bad = {"issuer": ISSUER, "claims": {"sub": "repo:acme*"}}
    problem(await ask(alice, "POST", f"{CI}/rules", bad), 400, "request")
    (await ask(alice, "DELETE", f"{CI}/rules/{shown['id']}")).expect(200)
    (await ask(alice, "POST", f"{CI}/rules", RULE)).expect(200)
    gone = (await ask(root, "DELETE", "/issuers/https%3A%2F%2Fissuer.example")).expect(200).json
    assert gone == {"issuer": ISSUER, "robots": 1}
    assert (await ask(alice, "GET", CI)).expect(200).json["rules"] == []
    problem(await ask(root, "POST", "/issuers", {"issuer": "http://a"}), 400, "request")
    assert team.url
