"""A team's day: an organisation with three people in different roles, and a stranger beside it."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.functional.programs import wait_until
from tests.functional.server import Account, Server
from tests.functional.wire import Wire
from tests.images import CONFIG, LAYER_TAR, MANIFEST, Descriptor

FELT_SECONDS_MAX = 60
APP, IMAGE_1 = "teamday/app", "teamday/app/manifests/1"
IMAGE: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST}


def push(wire: Wire, repository: str, tag: str) -> str:
    """Push an image of one layer; return its manifest's digest."""
    layer = described(wire, repository, LAYER_TAR, f"layer of {tag}".encode())
    config = described(wire, repository, CONFIG, b"{}")
    return wire.push_manifest(repository, tag, {**IMAGE, "config": config, "layers": [layer]})


def described(wire: Wire, repository: str, kind: str, data: bytes) -> Descriptor:
    """Push a blob; return what a manifest says of it."""
    return {"mediaType": kind, "size": len(data), "digest": wire.push_blob(repository, data)}


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
    assert status(Wire(server), "GET", IMAGE_1) == 401
    absent = stranger.request("GET", "/v2/teamday/none/manifests/1")
    there = stranger.request("GET", f"/v2/{IMAGE_1}")
    assert (absent.status, absent.body.replace(b"none", b"app")) == (there.status, there.body)


def ended(account: Wire, bearer: str, path: str) -> None:
    """Wait until a bearer token counts for nothing on every worker, for a minute at most."""
    wait_until(
        "the bearer token counts for nothing, on every worker",
        lambda: all(status_with(account, bearer, path) == 401 for _ in range(6)),
        seconds=FELT_SECONDS_MAX,
        every=0.3,
    )


def ci_pushes_and_is_ended(server: Server) -> None:
    """Have a robot push where its pattern lets it, and nowhere once it is removed."""
    words = ("robot", "add", "teamday", "ci", "--repository", "teamday/app*")
    ci = Wire(server, Account("teamday+ci", server.admin(*words).strip()))
    push(ci, APP, "branch-1")
    assert status(ci, "POST", "teamday/other/blobs/uploads/") == 401
    assert status(ci, "DELETE", IMAGE_1) == 401
    bearer = ci._tokens[f"/v2/{APP}"]
    server.admin("robot", "remove", "teamday+ci", "--yes")
    ended(ci, bearer, IMAGE_1)
    assert ci.with_basic("GET", "/token").status == 401


def is_full_for_a_while(server: Server, writer: Wire) -> None:
    """Have a quota that is used up: pushes are told so, pulls go on, and more room is enough."""
    server.admin("quota", "set", "teamday", "1KB")
    refused = writer.put_whole(APP, bytes(2000))
    assert (refused.status, refused.json()["errors"][0]["code"]) == (403, "DENIED")
    assert "teamday has used" in refused.body.decode()
    assert status(writer, "GET", IMAGE_1) == 200
    server.admin("quota", "set", "teamday", "50GB")
    writer.put_whole(APP, bytes(2000)).expect(201)


def keeps_releases_and_tidies_branches(server: Server, owner: Wire, writer: Wire) -> None:
    """Have `v*` stay where it points, and branches go that are older than their rule says."""
    push(writer, APP, "v1")
    server.admin("repo", "rules", "teamday", "--immutable", "v*")
    push(writer, APP, "v1")
    other = {**IMAGE, "config": described(writer, APP, CONFIG, b"{}"), "layers": []}
    data = json.dumps(other).encode()
    kind = {"Content-Type": MANIFEST}
    refused = writer.request("PUT", f"/v2/{APP}/manifests/v1", data, kind)
    assert "v1 is immutable, by rule" in refused.body.decode()
    assert status(owner, "DELETE", f"{APP}/manifests/v1") in {403, 405, 409}
    server.admin("repo", "rules", "teamday", "--keep-last", "1", "--tags", "branch-*")
    push(writer, APP, "branch-2")
    planned = json.loads(server.admin("repo", "rules", "teamday", "--apply", "--yes", "--json"))
    assert [one["tag"] for one in planned["tags"]] == ["branch-1"]
    assert "goes within the hour" in server.admin("repo", "explain", f"{APP}:branch-1")


def test_a_teams_day(server: Server, alice: Account, bob: Account) -> None:
    carol, dave = server.add_user("carol-of-team"), server.add_user("dave-of-nobody")
    people = [Wire(server, account) for account in (alice, bob, carol, dave)]
    owner, writer, reader, stranger = people
    make_team(server, alice, bob, carol)

    push(owner, APP, "1")
    push(writer, APP, "2")
    assert [status(each, "GET", IMAGE_1) for each in people] == [200, 200, 200, 401]
    assert status(reader, "POST", f"{APP}/blobs/uploads/") == 401
    assert status(writer, "DELETE", IMAGE_1) == 401
    see_nothing(server, stranger)
    shown = [APP in listed(server, account) for account in (alice, bob, carol, dave)]
    assert shown == [True, True, True, False]

    server.admin("repo", "internal", APP)
    assert [status(each, "GET", IMAGE_1) for each in (stranger, Wire(server))] == [200, 401]
    server.admin("repo", "private", APP)

    ci_pushes_and_is_ended(server)
    is_full_for_a_while(server, writer)
    keeps_releases_and_tidies_branches(server, owner, writer)

    bearer = [*writer._tokens.values()][-1]
    assert status_with(writer, bearer, IMAGE_1) == 200
    server.admin("org", "revoke", "teamday", bob.name)
    ended(writer, bearer, IMAGE_1)
    assert status(writer, "GET", IMAGE_1) == 401
    assert APP not in listed(server, bob)
    assert status(reader, "GET", IMAGE_1) == 200

    code, said = server.outcome("org", "revoke", "teamday", alice.name)
    assert (code, "no owner" in said) == (1, True)
    server.admin("org", "remove", "teamday", "--yes")
    assert status(Wire(server, alice), "GET", IMAGE_1) == 401
    server.admin("org", "add", "teamday", "--owner", dave.name)
    owns = partial(status, Wire(server, dave), "GET", IMAGE_1)
    wait_until("he owns it, and finds nothing", lambda: owns() == 404, seconds=FELT_SECONDS_MAX)
    assert APP not in listed(server, carol)
    server.admin("repo", "restore", APP)
    assert status(Wire(server, dave), "GET", IMAGE_1) == 200
    assert status(Wire(server, alice), "GET", IMAGE_1) == 401


def status_with(wire: Wire, bearer: str, path: str) -> int:
    """Return what the registry answers to this token and nothing else."""
    return wire._send("GET", f"/v2/{path}", None, {}, bearer).status
