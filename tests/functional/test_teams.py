"""A team's day: an organisation with three people in different roles, and a stranger beside it."""

import json
from collections.abc import Mapping
from typing import Any

from tests.functional.programs import wait_until
from tests.functional.server import Account, Server
from tests.functional.wire import Wire

FELT_SECONDS_MAX = 60
APP, MANIFEST = "teamday/app", "teamday/app/manifests/1"
IMAGE: Mapping[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
}


def push(wire: Wire, repository: str, tag: str) -> str:
    """Push an image of one layer; return its manifest's digest."""
    layer, config = f"layer of {tag}".encode(), b"{}"
    described = [
        {"mediaType": kind, "size": len(data), "digest": wire.push_blob(repository, data)}
        for kind, data in (
            ("application/vnd.oci.image.config.v1+json", config),
            ("application/vnd.oci.image.layer.v1.tar", layer),
        )
    ]
    return wire.push_manifest(
        repository, tag, {**IMAGE, "config": described[0], "layers": described[1:]}
    )


def status(wire: Wire, method: str, path: str) -> int:
    return wire.request(method, f"/v2/{path}").status


def listed(server: Server, account: Account) -> list[str]:
    """Return the repositories that somebody is shown by the management API."""
    answer = Wire(server, account).with_basic("GET", "/api/v1/repositories").expect(200)
    return [one["name"] for one in answer.json()["repositories"]]


def make_team(server: Server, owner: Account, writer: Account, reader: Account) -> None:
    """Have an organisation with three people in it, as docs/teams.md does."""
    server.admin("org", "add", "teamday", "--owner", owner.name)
    server.admin("org", "grant", "teamday", writer.name, "writer")
    server.admin("org", "grant", "teamday", reader.name, "reader")
    shown = json.loads(server.admin("org", "show", "teamday", "--json"))
    assert {(one["user"], one["role"]) for one in shown["members"]} == {
        (owner.name, "owner"),
        (writer.name, "writer"),
        (reader.name, "reader"),
    }


def see_nothing(server: Server, stranger: Wire) -> None:
    """Have a stranger, and nobody, hear the same of what is there and of what is not."""
    assert status(Wire(server), "GET", MANIFEST) == 401
    absent = stranger.request("GET", "/v2/teamday/none/manifests/1")
    there = stranger.request("GET", f"/v2/{MANIFEST}")
    assert (absent.status, absent.body.replace(b"none", b"app")) == (there.status, there.body)


def test_a_teams_day(server: Server, alice: Account, bob: Account) -> None:
    carol, dave = server.add_user("carol-of-team"), server.add_user("dave-of-nobody")
    people = [Wire(server, account) for account in (alice, bob, carol, dave)]
    owner, writer, reader, stranger = people
    make_team(server, alice, bob, carol)

    push(owner, APP, "1")
    push(writer, APP, "2")
    assert [status(each, "GET", MANIFEST) for each in people] == [200, 200, 200, 401]
    assert status(reader, "POST", f"{APP}/blobs/uploads/") == 401
    assert status(writer, "DELETE", MANIFEST) == 401
    see_nothing(server, stranger)
    shown = [APP in listed(server, account) for account in (alice, bob, carol, dave)]
    assert shown == [True, True, True, False]

    server.admin("repo", "internal", APP)
    assert [status(each, "GET", MANIFEST) for each in (stranger, Wire(server))] == [200, 401]
    server.admin("repo", "private", APP)

    bearer = [*writer._tokens.values()][-1]
    assert status_with(writer, bearer, MANIFEST) == 200
    server.admin("org", "revoke", "teamday", bob.name)
    wait_until(
        "the bearer token counts for nothing, on every worker",
        lambda: all(status_with(writer, bearer, MANIFEST) == 401 for _ in range(6)),
        seconds=FELT_SECONDS_MAX,
        every=0.3,
    )
    assert status(writer, "GET", MANIFEST) == 401
    assert APP not in listed(server, bob)
    assert status(reader, "GET", MANIFEST) == 200

    code, said = server.outcome("org", "revoke", "teamday", alice.name)
    assert (code, "no owner" in said) == (1, True)
    server.admin("org", "remove", "teamday", "--yes")
    assert status(Wire(server, alice), "GET", MANIFEST) == 401
    server.admin("org", "add", "teamday", "--owner", dave.name)
    assert status(Wire(server, dave), "GET", MANIFEST) == 404
    assert APP not in listed(server, carol)
    server.admin("repo", "restore", APP)
    assert status(Wire(server, dave), "GET", MANIFEST) == 200
    assert status(Wire(server, alice), "GET", MANIFEST) == 401


def status_with(wire: Wire, bearer: str, path: str) -> int:
    """Return what the registry answers to this token and nothing else."""
    return wire._send("GET", f"/v2/{path}", None, {}, bearer).status
