"""What is made twice is refused by 409, with the id of what is there, and shows no secret again."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.contracts.metadata_values import ACTOR

ROBOT: Final = {"name": "ci", "allow": ["pull"]}
PROVIDER: Final = {"name": "corp", "issuer": "https://login.example", "client_id": "registry"}
KEEPS: Final = {"kind": "retention", "keep_pushed": "30d"}
MADE: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    # path: a body, and where in the answer stands the id of what it makes
    "/users": ({"name": "erin", "password": PASSWORD}, "name"),
    "/organisations": ({"name": "prod", "owner": "alice"}, "name"),
    "/organisations/acme/robots": (ROBOT, "robot.id"),
    "/tokens": ({"name": "laptop"}, "token.id"),
    "/sign-on": (PROVIDER, "name"),
    "/rules": (KEEPS, "rule"),
    "/rules/acme": (KEEPS, "rule"),
    "/rules/acme/app": ({"kind": "immutable", "tags": ["v*"]}, "rule"),
}
AGAIN: Final = {
    # What may be made again and again, or does what was done before once more.
    "/copies",
    "/deliveries/{delivery}/redeliver",
    "/events/groups/{name}/ack",
    "/events/groups/{name}/next",
    "/hooks",
    "/hooks/{hook}/disable",
    "/hooks/{hook}/enable",
    "/hooks/{hook}/ping",
    "/hooks/{hook}/rotate",
    "/invitations",
    "/issuers",
    "/jobs",
    "/moves",
    "/organisations/{name}/robots/{robot}/rotate",
    "/organisations/{name}/robots/{robot}/rules",
    "/purges",
    "/restorations",
    "/retention",
    "/retention/{name}",
    "/cluster/targets/{target}/drain",
    "/cluster/targets/{target}/forget",
    "/cluster/targets/{target}/undrain",
    "/users/{user}/reset",
}


@pytest.fixture
async def owner(registry: Running, root: Client, alice: Client) -> Client:
    """Be an administrator who owns acme, with a repository in it."""
    await registry.parts.database.organisations.add("acme", "alice", actor=ACTOR)
    await alice.repository("acme/app").push_image("1", b"a layer")
    grant = registry.parts.database.organisations.grant
    await grant("acme", "root", role="owner", repository="*", actor=ACTOR)
    return root


async def test_every_row_that_makes_something_is_here(root: Client) -> None:
    document = (await ask(root, "GET", "/openapi.json")).expect(200).json
    paths = document["paths"].items()
    rows = {path.removeprefix("/api/v1") for path, methods in paths if "post" in methods}
    made = {path.replace("/acme/app", "/{name}").replace("/acme", "/{name}") for path in MADE}
    assert rows == made | AGAIN


@pytest.mark.parametrize("path", MADE)
async def test_the_second_time_says_what_is_there(owner: Client, path: str) -> None:
    body, where = MADE[path]
    found: Any = (await ask(owner, "POST", path, body)).expect(200).json
    for word in where.split("."):
        found = found[word]
    again = await ask(owner, "POST", path, body)
    assert problem(again, 409, "exists")["id"] == str(found)
    assert b"secret" not in again.body.replace(b"another secret", b"")


async def test_an_invitation_of_somebody_who_is_here_says_who(owner: Client) -> None:
    for name in ("alice", "acme"):
        again = await ask(owner, "POST", "/invitations", {"name": name})
        assert problem(again, 409, "exists")["id"] == name


async def test_a_name_that_repositories_are_left_of_says_one(
    registry: Running, owner: Client, bob: Client
) -> None:
    await bob.repository("bob/app").push_image("1", b"a layer")
    await registry.parts.accounts.remove_user("bob", actor=ACTOR)
    for path, body in (
        ("/users", {"name": "bob", "password": PASSWORD}),
        ("/organisations", {"name": "bob", "owner": "alice"}),
    ):
        assert problem(await ask(owner, "POST", path, body), 409, "exists")["id"] == "bob/app"
