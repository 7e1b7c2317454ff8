"""Purging from the command line, while no server runs: what was deleted is gone from the disks."""

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.cli.conftest import Command
from tests.cli.walked import DATA, answer, own_log, pair, quick, threads
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, digest, large, manifest
from treescale.chunks.store import chunk_id_of
from treescale.cli import purge
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance import purger
from treescale.maintenance.collection.state import Mode
from treescale.metadata.collection import purging
from treescale.metadata.database import Database
from treescale.metadata.records import Blob, NewBlob, ServerRecord

__all__ = ["own_log", "pair", "quick", "threads"]


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purger, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(purge, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(purge, "AWAY_SECONDS", 0.3)
    monkeypatch.setattr(purge, "STATUS_SECONDS", 0.1)


@pytest.fixture
def deleted(pair: Command) -> Command:
    """The image is deleted; copies of its chunks also lie in trash and quarantine."""

    async def work(database: Database) -> None:
        await database.manifests.put(
            APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
        )
        await database.manifests.delete(APP, manifest().digest, actor=ACTOR)

    pair.database(work)
    name = chunk_id_of(DATA[0]).hex()
    (pair.data / "one" / "trash" / name).write_bytes(DATA[0])
    (pair.data / "two" / "quarantine" / f"{name}.{int(time.time() * 1e9)}").write_bytes(DATA[0])  # noqa: TID251  as it is named
    return pair


def left(command: Command) -> list[Path]:
    """Return the files in which anything of the layer is, but for the database's."""
    return [
        path
        for store in ("one", "two")
        for path in sorted((command.data / store).rglob("*"))
        if path.is_file() and any(data in path.read_bytes() for data in DATA)
    ]


def test_what_was_deleted_is_nowhere(deleted: Command) -> None:
    assert len(left(deleted)) == 2 * len(DATA) + 2
    status, told = answer(deleted, "collect", "--purge", f"{APP}:v1", "--yes")
    assert status == 0, told
    assert left(deleted) == []
    assert (told["images"], told["blobs"], told["chunks"]) == (1, 1, len(DATA))
    assert told["bytes"] == sum(map(len, DATA))
    assert told["complete"]
    assert [store["unlinked"] for store in told["stores"]] == [True, True]
    assert deleted.json("repo", "deleted") == []
    assert "nothing was deleted at" in deleted.refused("collect", "--purge", f"{APP}:v1", "--yes")


@pytest.mark.parametrize("overwrites", [True, False])
def test_small_things_are_not_in_sqlites_file_either(
    deleted: Command,
    monkeypatch: pytest.MonkeyPatch,
    overwrites: bool,  # noqa: FBT001  a parameter
) -> None:
    """And the control: what is only deleted lies there still."""
    secret = b"PASSWORD=correct horse battery staple"
    new = NewBlob(Blob(digest(3), len(secret), secret, None), ())

    async def push(database: Database) -> None:
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        made = manifest(b"with " + secret)
        await database.manifests.put(APP, made, [blob_reference(3)], [], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, made.digest, actor=ACTOR)

    deleted.database(push)
    file = deleted.data / "treescale.db"
    assert secret in file.read_bytes()
    if not overwrites:
        monkeypatch.setattr(purging, "_OVERWRITE", text("PRAGMA secure_delete=OFF"))
    assert answer(deleted, "collect", "--purge", APP, "--yes")[0] == 0
    assert (secret not in file.read_bytes()) is overwrites


def test_what_another_image_has_stays(deleted: Command) -> None:
    async def share(database: Database) -> None:
        parts = [(chunk_id_of(data), len(data)) for data in DATA[:2]]
        await database.blobs.commit("bob/app", large(2, *parts), upload_id=None, now=NOW, actor="")

    deleted.database(share)
    status, told = answer(deleted, "collect", "--purge", APP, "--yes")
    assert (status, told["chunks"], told["shared"]) == (0, len(DATA) - 2, 2)
    names = {path.name for path in left(deleted) if "chunks" in path.parts}
    assert names == {chunk_id_of(data).hex() for data in DATA[:2]}


def test_what_nobody_deleted_is_not_purged(pair: Command) -> None:
    async def put(database: Database) -> None:
        await database.manifests.put(
            APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
        )

    pair.database(put)
    for name in (APP, f"{APP}:v1", f"{APP}@{manifest().digest}"):
        said = pair.refused("collect", "--purge", name, "--yes")
        assert f"delete it first, `treescale repo delete {name}" in said
    pair.here("repo", "delete", f"{APP}:v1")
    assert f"repo delete {APP}@{manifest().digest}" in pair.refused(
        "collect", "--purge", f"{APP}:v1", "--yes"
    )
    assert "no repository alice/none" in pair.refused("collect", "--purge", "alice/none", "--yes")
    assert len(left(pair)) == 2 * len(DATA)


def test_a_deleted_repository_goes_whole(pair: Command) -> None:
    pair.here("repo", "delete", APP)
    status, told = answer(pair, "collect", "--purge", APP, "--yes")
    assert (status, told["chunks"]) == (0, len(DATA))
    assert left(pair) == []
    assert pair.json("repo", "deleted") == []


def test_it_says_how_much_and_needs_a_yes(deleted: Command) -> None:
    result = deleted.run("collect", "--purge", APP, "--data", str(deleted.data))
    assert result.exit_code == 2
    assert f"1 images, 1 blobs, {len(DATA)} chunks, 30 kB" in " ".join(result.stderr.split())
    assert "say --yes" in result.stderr
    assert len(left(deleted)) == 2 * len(DATA) + 2
    assert deleted.run("collect", "--purge", APP, "--dry-run").exit_code == 2


@pytest.mark.parametrize("yes", [True, False])
def test_at_a_terminal_it_asks(
    deleted: Command,
    monkeypatch: pytest.MonkeyPatch,
    yes: bool,  # noqa: FBT001  a parameter
) -> None:
    monkeypatch.setattr("treescale.cli.purge.os.isatty", lambda _: True)
    words = ("collect", "--purge", APP, "--data", str(deleted.data))
    result = deleted.run(*words, text_in="y\n" if yes else "n\n")
    assert result.exit_code == (0 if yes else 1)
    assert "chunks, 30 kB, from 2 stores? Nothing brings it back." in result.output
    assert f"host-one:{deleted.data / 'one'} (its server is stopped)" in result.output
    assert (left(deleted) == []) is yes


def test_a_store_that_is_away_does_it_later(deleted: Command) -> None:
    label = deleted.data / "two" / "store.json"
    label.rename(label.with_name("elsewhere"))
    status, told = answer(deleted, "collect", "--purge", APP, "--yes")
    assert (status, told["complete"]) == (1, False)
    assert [each["where"] for each in told["away"]] == [f"host-two:{deleted.data / 'two'}"]
    assert {path.parts[len(deleted.data.parts)] for path in left(deleted)} == {"two"}

    async def fenced(database: Database) -> list[int]:
        stores = await database.stores.list()
        due_at = purging.Purging(database.connections).due_at
        return [len(await due_at(store.store_id)) for store in stores]

    assert sorted(deleted.database(fenced)) == [0, 1]
    label.with_name("elsewhere").rename(label)
    # Whatever walks the store begins with that: here another command.
    deleted.run("collect", "--dry-run", "--data", str(deleted.data))
    assert left(deleted) == []


def test_not_beside_a_server_that_knows_no_fence(deleted: Command) -> None:
    async def old(database: Database) -> None:
        server = ServerRecord("old", "host-old", "http://old", "", started=NOW, version="0.1.0")
        await database.servers.register(server, live_seconds=15, actor=ACTOR)

    deleted.database(old)
    assert "host-old ran version 0.1.0" in deleted.refused("collect", "--purge", APP, "--yes")
    assert len(left(deleted)) == 2 * len(DATA) + 2


def test_not_in_a_database_that_was_restored(deleted: Command) -> None:
    async def freeze(database: Database) -> None:
        await database.settings.put(COLLECTION_SETTING, Mode.FROZEN)

    deleted.database(freeze)
    assert "--after-restore" in deleted.refused("collect", "--purge", APP, "--yes")
    assert len(left(deleted)) == 2 * len(DATA) + 2
