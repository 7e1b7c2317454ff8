"""Every route by everybody: what each may do to a private, a public and an absent repository.

Expected is written down here and derived from nothing: a right that moves fails a test.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from tests.api.client import EVERYTHING, Answer, Client, MakePublic
from tests.api.running import PASSWORD, Running
from tests.api.test_privacy import comparable
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import OCI_CONFIG, OCI_MANIFEST, descriptor, digest, encoded, image
from treescale.api.routes import ROUTES
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.oci.paths import Resource, parse_path
from treescale.registry.accounts import TokenTerms
from treescale.registry.robots.service import RobotService, RobotTerms

LAYER: Final = b"a layer"
CONFIG: Final = b"{}"
DOCUMENT: Final = encoded(image(descriptor(LAYER), config=descriptor(CONFIG, OCI_CONFIG)))
UPLOAD: Final = "UPLOAD"

OPERATIONS: Final = [
    # method, path, the right it needs, status with it: repository there, repository absent
    ("GET", "manifests/latest", "pull", 200, 404),
    ("HEAD", "manifests/latest", "pull", 200, 404),
    ("GET", f"manifests/{digest(DOCUMENT)}", "pull", 200, 404),
    ("GET", f"blobs/{digest(LAYER)}", "pull", 200, 404),
    ("HEAD", f"blobs/{digest(LAYER)}", "pull", 200, 404),
    ("GET", "tags/list", "pull", 200, 404),
    ("GET", f"referrers/{digest(DOCUMENT)}", "pull", 200, 200),
    ("HEAD", "tags/list", "pull", 405, 405),
    ("POST", "tags/list", "push", 405, 405),
    ("DELETE", "tags/list", "delete", 405, 405),
    ("PATCH", "manifests/latest", "push", 405, 405),
    ("GET", "blobs/uploads/", "pull", 405, 405),
    ("PUT", "manifests/latest", "push", 201, 400),
    ("PUT", f"manifests/{digest(DOCUMENT)}?tag=latest", "push", 201, 400),
    ("POST", f"blobs/uploads/?mount={digest(LAYER)}&from=bob/none", "push", 202, 202),
    ("POST", "blobs/uploads/", "push", 202, 202),
    ("GET", UPLOAD, "push", 204, 404),
    ("PATCH", UPLOAD, "push", 202, 404),
    ("PUT", f"{UPLOAD}?digest={digest(b'other')}", "push", 400, 404),
    ("DELETE", UPLOAD, "push", 204, 404),
    ("DELETE", "manifests/latest", "delete", 202, 404),
    ("DELETE", f"manifests/{digest(DOCUMENT)}", "delete", 202, 404),
    ("DELETE", f"blobs/{digest(LAYER)}", "delete", 202, 404),
]
RIGHTS: Final[Mapping[str, str]] = {
    # in a private or absent repository of alice's; pulling what is public comes on top
    "bare": "",
    "anonymous token": "",
    "no account": "",
    "owner": "pull,push,delete",
    "other user": "",
    "administrator": "",
    "pull token": "pull",
    "push token": "pull,push",
    "push-only token": "push",
    "delete token": "delete",
    "token for another repository": "",
    "revoked token": "",
    "reader": "pull",
    "writer": "pull,push",
    "maintainer": "pull,push,delete",
    "second owner": "pull,push,delete",
    "maintainer of others": "",
    "former writer": "",
    "robot": "pull,push,delete",
    "pulling robot": "pull",
    "robot for another repository": "",
    "robot of others": "",
    "removed robot": "",
}
MEMBERS: Final = {
    "reader": ("reader", "*"),
    "writer": ("writer", "alice/*"),
    "maintainer": ("maintainer", "*"),
    "second owner": ("owner", "*"),
    "maintainer of others": ("maintainer", "alice/another*"),
    "former writer": ("writer", "*"),
}
"""Bob, with a role in alice's namespace. An upload is still that of who has begun it."""
ROBOTS: Final = {
    "robot": ("alice", RobotTerms("ci", frozenset(ALL_ACTIONS))),
    "pulling robot": ("alice", RobotTerms("ci", frozenset({Action.PULL}))),
    "robot for another repository": ("alice", RobotTerms("ci", repository="alice/another*")),
    "robot of others": ("bob", RobotTerms("ci", frozenset(ALL_ACTIONS))),
    "removed robot": ("alice", RobotTerms("ci", frozenset(ALL_ACTIONS))),
}
NOBODY: Final = ("bare", "no account", "revoked token", "removed robot")
"""Those who may not even pull what is public: they must ask for a token first, or cannot."""
TERMS: Final = {
    "pull token": TokenTerms("t", frozenset({Action.PULL})),
    "push token": TokenTerms("t", frozenset({Action.PULL, Action.PUSH})),
    "push-only token": TokenTerms("t", frozenset({Action.PUSH})),
    "delete token": TokenTerms("t", frozenset({Action.DELETE})),
    "token for another repository": TokenTerms("t", ALL_ACTIONS, repository="alice/another*"),
    "revoked token": TokenTerms("t", ALL_ACTIONS),
}
SOURCE: Final = "repository:bob/none:pull"
"""Of the mount, which is a miss for all: without asking for this, it is a 401 for all."""
STATES: Final = {"private": "alice/private", "public": "alice/public", "absent": "alice/absent"}
WITHOUT_BASIC: Final = ("anonymous token", "bare")


async def somebody(registry: Running, alice: Client, role: str) -> Client:
    """Return a client in this role, with what it needs to have asked for in time."""
    accounts = registry.parts.accounts
    if role in ("bare", "anonymous token"):
        return Client(alice.session, alice.url)
    if role == "no account":
        return Client(alice.session, alice.url, "mallory", PASSWORD)
    if role == "administrator":
        await accounts.add_user("root", PASSWORD, admin=True, actor=ACTOR)
        return Client(alice.session, alice.url, "root", PASSWORD)
    if role in MEMBERS or role in ROBOTS:
        made = member if role in MEMBERS else robot
        return await made(registry, alice, role)
    if role not in TERMS:
        return Client(alice.session, alice.url, {"owner": "alice"}.get(role, "bob"), PASSWORD)
    text, token = await accounts.create_token("alice", TERMS[role], actor=ACTOR)
    client = Client(alice.session, alice.url, "alice", text)
    if role == "revoked token":
        for name in STATES.values():
            await client.token(f"repository:{name}:{EVERYTHING}", SOURCE)
        await client.token()
        await accounts.revoke_token(token.token_id, actor=ACTOR)
        registry.parts.clock.skip(60)
        await registry.parts.tokens.refresh()
    return client


async def member(registry: Running, alice: Client, role: str) -> Client:
    """Return bob as a member; a former one has tokens of when he was one."""
    organisations = registry.parts.database.organisations
    word, glob = MEMBERS[role]
    await organisations.grant("alice", "bob", role=word, repository=glob, actor=ACTOR)
    client = Client(alice.session, alice.url, "bob", PASSWORD)
    if role == "former writer":
        for name in (STATES["private"], STATES["absent"]):  # void as a whole: public ones, too
            await client.token(f"repository:{name}:{EVERYTHING}", SOURCE)
        await organisations.revoke("alice", "bob", repository=None, actor=ACTOR)
        registry.parts.clock.skip(60)
        await registry.parts.tokens.refresh()
        (await client.raw("GET", "/v2/", client.basic())).expect(200)  # a login outlives a role
    return client


async def robot(registry: Running, alice: Client, role: str) -> Client:
    """Return a robot; a removed one has tokens of when it was one."""
    service = RobotService(registry.parts.database)
    namespace, terms = ROBOTS[role]
    secret, made = await service.add(namespace, terms, actor=ACTOR)
    client = Client(alice.session, alice.url, made.login, secret)
    if role == "removed robot":
        for name in STATES.values():
            await client.token(f"repository:{name}:{EVERYTHING}", SOURCE)
        await client.token()
        await service.remove(namespace, terms.name, actor=ACTOR)
        registry.parts.clock.skip(60)
        await registry.parts.tokens.refresh()
    return client


async def ask(client: Client, how: str, method: str, path: str, name: str) -> Answer:
    """Send one operation with the credentials of this kind."""
    url = f"/v2/{name}/{path}"
    headers = {"Content-Type": OCI_MANIFEST} if "manifests" in path and method == "PUT" else {}
    data = DOCUMENT if headers else b"bytes" if method == "PATCH" else None
    if how == "bare":
        return await client.raw(method, url, headers, data)
    if how == "basic":
        return await client.raw(method, url, {**client.basic(), **headers}, data)
    scopes = (f"repository:{name}:{EVERYTHING}", SOURCE)
    return await client.request(method, url, scopes=scopes, headers=headers, data=data)


async def statuses(
    registry: Running, client: Client, how: str, name: str, upload: str
) -> list[tuple[str, str, int]]:
    """Do everything to a repository, the most harmful last."""
    found = []
    for method, path, *_ in OPERATIONS:
        if client.user == "mallory":  # else who guesses so often is told to wait
            registry.parts.clock.skip(61)
        answer = await ask(client, how, method, path.replace(UPLOAD, upload), name)
        found.append((method, path, answer.status))
    return found


def expected(role: str, state: str) -> list[tuple[str, str, int]]:
    """Return what `statuses` must be."""
    rights = set(filter(None, RIGHTS[role].split(",")))
    if state == "public" and role not in NOBODY:
        rights.add("pull")
    found = []
    for method, path, right, there, absent in OPERATIONS:
        is_others = path.startswith(UPLOAD) and (role in MEMBERS or role in ROBOTS)
        allowed = absent if state == "absent" or is_others else there
        found.append((method, path, allowed if right in rights else 401))
    return found


async def prepare(alice: Client, state: str, make_public: MakePublic) -> str:
    """Make the repository of this state; return the path of an upload alice has begun in it."""
    repository = alice.repository(STATES[state])
    if state == "absent":
        return "blobs/uploads/" + "x" * 22
    for data in (CONFIG, LAYER):
        await repository.push_blob(data)
    (await repository.put_manifest(DOCUMENT, "latest")).expect(201)
    if state == "public":
        await make_public(repository.name)
    return (await repository.start_upload()).partition(f"{repository.name}/")[2]


def test_every_route_is_in_the_table() -> None:
    covered = set()
    for method, path, *_ in OPERATIONS:
        url = "/v2/a/b/" + path.replace(UPLOAD, "blobs/uploads/x").partition("?")[0]
        route = parse_path(url)
        assert isinstance(route, Resource)
        covered.add((route.kind, method))
    inside = {(kind, method) for kind, method in ROUTES if kind.value not in ("root", "catalog")}
    assert inside <= covered


ONE_WAY: Final = {"bare": ("bare",), "no account": ("basic",), "anonymous token": ("bearer",)}
"""How those ask who cannot choose between a token and a password."""


def ways() -> Iterator[Any]:
    """Yield each role with each way to ask; in a hurry those of one kind of credential ask one way.

    By passwords ask the owner, another user and the administrator, both ways.
    """
    for role in RIGHTS:
        for how in ONE_WAY.get(role, ("bearer", "basic")):
            hasty = how == "bearer" or role not in {*TERMS, *ROBOTS, *MEMBERS}
            yield pytest.param(role, how, marks=() if hasty else pytest.mark.long)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("role", "how"), list(ways()))
async def test_who_may_do_what(
    registry: Running, alice: Client, make_public: MakePublic, role: str, state: str, how: str
) -> None:
    upload = await prepare(alice, state, make_public)
    client = await somebody(registry, alice, role)
    assert await statuses(registry, client, how, STATES[state], upload) == expected(role, state)


@pytest.mark.parametrize(
    "role", [role for role in RIGHTS if not RIGHTS[role] and role != "no account"]
)
async def test_a_private_repository_looks_absent(
    registry: Running, alice: Client, make_public: MakePublic, role: str
) -> None:
    upload = await prepare(alice, "private", make_public)
    client = await somebody(registry, alice, role)
    how = "bare" if role == "bare" else "bearer"
    for method, path, *_ in OPERATIONS:
        private, absent = [
            comparable(await ask(client, how, method, path.replace(UPLOAD, upload), name), name)
            for name in ("alice/private", "alice/absent")
        ]
        assert private == absent, (method, path)


@pytest.mark.parametrize("role", RIGHTS)
async def test_the_entrance_and_the_catalog(registry: Running, alice: Client, role: str) -> None:
    await alice.repository("alice/private").push_blob(LAYER)
    client = await somebody(registry, alice, role)
    status = 401 if role in NOBODY else 200
    if role in WITHOUT_BASIC:
        for path in ("/v2/", "/v2/_catalog"):
            (await client.raw("GET", path)).expect(401, "UNAUTHORIZED")
        answer = await client.request("GET", "/v2/_catalog")
        assert answer.expect(200).json == {"repositories": []}
        return
    for path in ("/v2/", "/v2/_catalog"):
        (await client.raw("GET", path, client.basic())).expect(status)
    if status == 200:
        listed = (await client.request("GET", "/v2/_catalog")).json["repositories"]
        sees = "pull" in RIGHTS[role]
        assert listed == (["alice/private"] if sees else [])


async def test_without_the_policy_the_matrix_notices(
    monkeypatch: pytest.MonkeyPatch, registry: Running, alice: Client, make_public: MakePublic
) -> None:
    """The control: with everybody allowed everything, the same probe sees it."""

    def permissive(_: Principal, __: str, ___: object) -> frozenset[Action]:
        return ALL_ACTIONS

    monkeypatch.setattr("treescale.registry.token_service.permitted", permissive)
    upload = await prepare(alice, "private", make_public)
    client = await somebody(registry, alice, "other user")
    found = await statuses(registry, client, "bearer", "alice/private", upload)
    assert found != expected("other user", "private")
