"""Rules for tags with real clients: docker is told why, and nothing is removed unseen."""

import json
from pathlib import Path

from tests.functional.docker import Docker
from tests.functional.server import Account, Server
from tests.functional.test_teams import push
from tests.functional.wire import Wire
from tests.images import Image, text_layer


def test_docker_is_told_which_rule_keeps_a_tag(
    docker: Docker, server: Server, alice: Account, busybox: Image, tmp_path: Path
) -> None:
    name = f"{server.address}/{alice.name}/app"
    other = Image([*busybox.layers, text_layer(tmp_path / "layer", {"a": "b"})], busybox.command)
    docker.load(busybox, f"{name}:v1", tmp_path / "first")
    docker.login(server.address, alice)
    docker("push", f"{name}:v1")
    server.admin("repo", "rules", alice.name, "--immutable", "v*")
    docker("push", f"{name}:v1")
    docker.load(other, f"{name}:v1", tmp_path / "second")
    said = docker.refused("push", f"{name}:v1")
    assert f"denied: {alice.name}/app:v1 is immutable, by rule" in said
    assert f"of the namespace {alice.name} (v*)" in said
    docker("tag", f"{name}:v1", f"{name}:v2")
    docker("push", f"{name}:v2")


def test_from_a_rule_to_what_would_go(server: Server, alice: Account) -> None:
    wire, app = Wire(server, alice), f"{alice.name}/ci"
    for tag in ("main", "pr-1", "pr-2"):
        push(wire, app, tag)
    server.admin("repo", "rules", alice.name, "--keep-last", "1", "--tags", "pr-*")
    waiting = server.admin("repo", "explain", f"{app}:pr-1")
    assert "nobody has confirmed" in waiting
    planned = json.loads(server.admin("repo", "rules", alice.name, "--apply", "--yes", "--json"))
    assert [one["tag"] for one in planned["tags"]] == ["pr-1"]
    assert "goes within the hour" in server.admin("repo", "explain", f"{app}:pr-1")
    path = f"/api/v1/explain/{app}?tag=main"
    assert wire.with_basic("GET", path).expect(200).json()["why"] == "no-rule"
