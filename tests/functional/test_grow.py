"""One server on SQLite becomes a cluster, by the page of docs/operations.md, typed as it stands."""

import asyncio
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.functional.cluster.altered import altered
from tests.functional.conftest import Serve
from tests.functional.pages import blocks
from tests.functional.programs import Program, wait_until
from tests.functional.server import TREESCALE, Options, Server
from tests.functional.wire import Wire
from tests.images import noise
from tests.postgres import Postgres

pytestmark = pytest.mark.early

PAGE: Final = blocks("Growing from one machine to several", "grow")
APP: Final = "alice/app"
SIZES: Final = (3_000_000, 200_000, 900)
"""Of the layers: of several chunks, of one, and of none."""


def typed(commands: str, first: Server, url: str) -> None:
    """Type them."""
    for word, meant in (("DATABASE", url), ("FIRST", first.address), ("DIR", str(first.disks[0]))):
        commands = commands.replace(word, meant)
    commands = commands.replace("treescale ", f"{TREESCALE} ")
    script = ["sh", "-e", "-u", "-c", commands]
    subprocess.run(script, check=True, capture_output=True, timeout=60)


def on(server: Server, url: str) -> None:
    """Start a server with another database."""
    server.options = replace(server.options, database=url)
    server.program = Program(*server._words(), log=server.log, env=server._environment())
    server.start()


def whole(server: Server, wire: Wire, layers: dict[str, bytes]) -> bool:
    """Say whether a server gives everything out as it was pushed."""
    manifest = json.loads(wire.request("GET", f"/v2/{APP}/manifests/1").expect(200).body)
    assert {layer["digest"] for layer in manifest["layers"]} == {*layers}, server.address
    return all(wire.pull_blob(APP, digest) == data for digest, data in layers.items())


def test_one_server_becomes_three_and_the_first_is_switched_off(
    serve: Serve, postgres_url: str
) -> None:
    move, wait, drain, forget = PAGE
    soon = Options(workers=2, launcher=altered("settle-soon"))  # a minute, as people have it
    first = serve(soon)
    account = first.add_token(first.add_user("alice"), "--allow", "pull,push")
    wire = Wire(first, account)
    layers = {wire.push_blob(APP, data): data for data in map(noise, SIZES)}
    wire.push_manifest(APP, "1", manifest_of(layers))
    wire.request("GET", f"/v2/{APP}/tags/list").expect(200)  # it has a bearer token from now on
    assert first.stop() == 0
    typed(move, first, postgres_url)
    assert not (first.disks[0] / "treescale.db").exists()
    on(first, postgres_url)
    assert whole(first, wire, layers), "with the tokens of before"
    second, third = (serve(replace(soon, database=postgres_url)) for _ in range(2))
    typed(wait, first, postgres_url)  # `fsck` says that it is whole
    for server in (second, third):
        assert whole(server, Wire(server, account), layers)
    typed(drain, first, postgres_url)
    assert first.stop() == 0
    for server in (second, third):
        assert whole(server, Wire(server, account), layers)
        Wire(server, account).push_blob(APP, noise(100_000))
    wait_until("it may go", lambda: done(forget, first, postgres_url), seconds=150, every=3)
    assert len(second.status()["servers"]) == 2


def done(commands: str, first: Server, url: str) -> bool:
    """Type them; say whether they came to an end. Only the last copies may keep them from it."""
    try:
        typed(commands, first, url)
    except subprocess.CalledProcessError as error:
        if b"has the last copies" not in error.stderr:
            raise
        return False
    return True


def manifest_of(layers: dict[str, bytes]) -> dict[str, object]:
    """Return an image of these layers."""
    described = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest,
            "size": len(data),
        }
        for digest, data in layers.items()
    ]
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described[-1] | {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": described,
    }


def test_a_start_from_the_database_that_has_moved_is_no_twin(
    serve: Serve, postgres_url: str
) -> None:
    """Whoever forgets the setting gets no second registry on the same disk."""
    move, *_ = PAGE
    first = serve(Options(workers=1))
    Wire(first, first.admin_account).push_blob("admin/app", noise(200_000))
    assert first.stop() == 0
    typed(move, first, postgres_url)
    done = subprocess.run(
        first.program.argv, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "is full of chunks" in done.stderr


def test_a_cluster_is_restored_though_a_store_is_lost(
    serve: Serve, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    """Three servers, a backup, a database that is gone and a disk with it; whole after the walk."""
    servers = [serve(Options(workers=1, database=postgres_url)) for _ in range(3)]
    first = servers[0]
    account = first.add_user("alice")
    wire = Wire(first, account)
    layers = {wire.push_blob(APP, data): data for data in map(noise, SIZES)}
    wire.push_manifest(APP, "1", manifest_of(layers))
    backup = str(tmp_path / "backup")
    first.admin("backup", backup)
    stores = {each["store"] for each in first.status()["stores"]}
    for server in servers:
        server.crash()
    asyncio.run(postgres.execute("postgres", "CREATE DATABASE restored TEMPLATE template0"))
    url = postgres.url("restored")
    subprocess.run([TREESCALE, "restore", backup, "--database", url], check=True, timeout=60)
    shutil.rmtree(servers[2].disks[0])
    for server in servers:
        on(server, url)
    now = {each["store"] for each in first.status()["stores"]}
    assert stores < now, "each has its id, the new one has another"
    (lost,) = stores - {store_of(server) for server in servers}
    wait_until("it is not in use", lambda: forgotten(first, lost), seconds=40, every=1)
    first.admin("repair")
    first.admin("fsck")
    for server in servers:
        assert whole(server, Wire(server, account), layers)


def forgotten(server: Server, store: str) -> bool:
    """Forget a store; say whether it could be. It may have been heard of just before the backup."""
    code, said = server.outcome("cluster", "forget", store)
    assert code == 0 or "is in use" in said, said
    return code == 0


def store_of(server: Server) -> str:
    """Return the id of the store that it has."""
    return str(json.loads((server.disks[0] / "store.json").read_text())["store"])
