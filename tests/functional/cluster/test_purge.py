"""A secret was pushed: it is purged while a server is stopped, and is on no disk in the end."""

import json
import secrets
import shutil

from tests.functional.cluster.load import EMPTY, manifest_of
from tests.functional.cluster.nodes import Cluster, Node
from tests.functional.programs import wait_until
from tests.functional.wire import Wire
from tests.images import sha256_of

MARK = b"-----BEGIN PRIVATE KEY-----"
REPOSITORY = "admin/secret"


def secret() -> bytes:
    """Return a layer of several chunks, each with the mark in it."""
    return b"".join(MARK + secrets.token_bytes(50_000) for _ in range(60))


def found(nodes: list[Node]) -> list[str]:
    """Return the files below these servers' data directories that have the mark."""
    files = (path for node in nodes for disk in node.disks for path in disk.rglob("*"))
    return [str(path) for path in files if path.is_file() and MARK in path.read_bytes()]


def test_a_secret_is_gone_from_all_disks_also_from_one_that_was_away(three: Cluster) -> None:
    first, second, away = three.nodes
    layer, wire = secret(), Wire(first, first.admin_account)
    wire.push_blob(REPOSITORY, EMPTY)
    manifest = manifest_of(wire.push_blob(REPOSITORY, layer), len(layer), "secret")
    digest = wire.push_manifest(REPOSITORY, "1", manifest)
    wait_until("all have it", lambda: all(len(found([node])) > 1 for node in three.nodes))
    some = next((first.disks[0] / "chunks").glob("*/*/*"))
    shutil.copy(some, first.disks[0] / "trash" / some.name)
    shutil.copy(some, first.disks[0] / "quarantine" / f"{some.name}.1")
    assert away.stop() == 0
    disk = away.disks[0]
    elsewhere = disk.rename(disk.with_name("elsewhere"))  # as if it was on another machine
    wire.request("DELETE", f"/v2/{REPOSITORY}/manifests/{digest}").expect(202)
    code, said = first.outcome("collect", "--purge", REPOSITORY, "--yes", "--json")
    told = json.loads(said)
    assert code == 1, said
    assert [each["why"] for each in told["away"]] == ["its server is stopped"]
    assert found([first, second]) == []
    refused = wire.put_whole(REPOSITORY, layer)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    elsewhere.rename(disk)
    assert found([away]) != [], "nobody has looked there"
    away.start()
    assert found([away]) == [], "it serves, and has it no more"
    wait_until("what the push left is gone, too", lambda: found(three.nodes) == [], every=0.2)
    wait_until("it can be pushed again", lambda: pushed(wire, layer), seconds=15, every=0.5)
    assert sha256_of(wire.pull_blob(REPOSITORY, sha256_of(layer))) == sha256_of(layer)


def pushed(wire: Wire, layer: bytes) -> bool:
    return wire.put_whole(REPOSITORY, layer).status == 201
