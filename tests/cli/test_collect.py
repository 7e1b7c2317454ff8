"""`treescale collect` while no server runs, and what `cluster status` says of it."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.cli.conftest import Command
from tests.cli.walked import DATA, answer, files, own_log, pair, quick, threads
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, manifest
from treescale.chunks.store import chunk_id_of
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.state import Mode
from treescale.metadata.collection.untagged import UntaggedCollector
from treescale.metadata.database import Database

__all__ = ["own_log", "pair", "quick", "threads"]
ORPHANS = (b"an orphan", b"a bigger orphan")


@pytest.fixture
def orphaned(pair: Command) -> Command:
    """On store one two chunks that no row names, put two days ago, and one put now."""
    old = time.time() - 2 * 86_400  # noqa: TID251  as the kernel dates files
    for data in (*ORPHANS, b"a young one"):
        path = place(pair, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if data in ORPHANS:
            os.utime(path, (old, old))
    for path in (*files(pair, "one"), *files(pair, "two")):  # what is named is old, too
        if path.read_bytes() in DATA:
            os.utime(path, (old, old))
    switch(pair, Mode.ON)
    return pair


def switch(command: Command, mode: Mode) -> None:
    async def put(database: Database) -> None:
        await database.settings.put(COLLECTION_SETTING, mode)

    command.database(put)


def place(command: Command, data: bytes) -> Path:
    name = chunk_id_of(data).hex()
    return command.data / "one" / "chunks" / name[:2] / name[2:4] / name


def there(command: Command) -> list[bool]:
    return [place(command, data).exists() for data in (*ORPHANS, b"a young one", *DATA)]


ALL = [True] * 9
WITHOUT_ORPHANS = [False, False, *[True] * 7]


def test_what_no_row_names_goes_and_is_told(orphaned: Command) -> None:
    status, found = answer(orphaned, "collect")
    assert status == 0, found
    assert there(orphaned) == WITHOUT_ORPHANS
    assert (found["removed"], found["orphans"], found["waiting"]) == (2, 2, 1)
    assert found["removed_bytes"] == sum(map(len, ORPHANS))
    assert found["looked"] == 6 + 6 + 3
    assert {row["removed"] for row in found["stores"]} == {0, 2}
    shown = {row["waiting"]: row for row in orphaned.json("cluster", "status")["collection"]}
    assert shown[1]["trash"] == 2
    assert shown[1]["trash_bytes"] == sum(map(len, ORPHANS))
    assert shown[1]["trash_free_at"]
    assert shown[1]["free_at_the_latest"]
    assert shown[1]["paused"] is None
    assert "collection\t" in orphaned.here("cluster", "status")


def test_a_dry_run_lists_it_biggest_first_and_takes_nothing(orphaned: Command) -> None:
    status, found = answer(orphaned, "collect", "--dry-run")
    assert status == 0
    assert there(orphaned) == ALL
    assert [row["size"] for row in found["going"]] == [15, 9]
    assert {row["why"] for row in found["going"]} == {"in no row; last put 48 h ago"}
    assert orphaned.json("cluster", "status")["collection"] == []
    lines = orphaned.here("collect", "--dry-run").splitlines()
    assert [line for line in lines if line.startswith("going\t15\t")]


@pytest.fixture
def imaged(orphaned: Command) -> Command:
    """Of the pushed layer an image that nothing holds, and a deleted one; all leases are over."""

    async def put(database: Database) -> None:
        for name in (b"pinned", b"gone"):
            made = manifest(name)
            await database.manifests.put(APP, made, [blob_reference(1)], [], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, manifest(b"gone").digest, actor=ACTOR)
        await UntaggedCollector(database.connections).look(await database.servers.now())
        for table, values in (
            ("repository_blobs", "lease_until = 1"),
            ("manifests", "lease_until = 1, deleted = deleted - 8 * 86400"),
            ("manifests", f"untagged_since = {NOW} WHERE untagged_since IS NOT NULL"),
        ):
            await database.connections.change(text(f"UPDATE {table} SET {values}"))  # noqa: S608

    orphaned.database(put)
    return orphaned


def freeing(command: Command) -> dict[str, Any]:
    return {row["what"]: row for row in command.json("cluster", "status")["freeing"]}


def test_rows_go_first_and_files_with_them(imaged: Command) -> None:
    size = sum(map(len, DATA))
    waits = freeing(imaged)["untagged"]
    assert (waits["images"], waits["layers"], waits["bytes"]) == (1, 1, size)
    assert "cluster set untagged=30d" in waits["note"]
    assert waits["free_at_the_latest"] is None, "it is kept"
    waits = freeing(imaged)["deleted"]
    assert (waits["images"], waits["layers"]) == (1, 0), "its layer the other has as well"
    assert waits["free_at_the_latest"]
    imaged.here("cluster", "set", "untagged=30d")
    imaged.here("cluster", "set", "undelete=0")
    assert freeing(imaged)["untagged"]["goes_from"]
    status, found = answer(imaged, "collect", "--dry-run")
    assert status == 0
    assert [(row["what"], row["size"]) for row in found["rows_due"]] == [
        ("deleted", size),
        ("untagged", size),
    ]
    assert "deleted 8 days ago" in found["rows_due"][0]["why"]
    assert f"row\t{size}\tuntagged\t{APP}@" in imaged.here("collect", "--dry-run")
    assert there(imaged) == ALL
    imaged.json(
        "collect"
    )  # what nothing held is deleted, and with undelete=0 purged, its layer too
    status, found = answer(imaged, "collect")
    assert status == 0
    assert there(imaged) == [False, False, True, *[False] * 6]
    assert freeing(imaged) == {}


def test_a_pause_of_the_rows_is_told(imaged: Command) -> None:
    switch(imaged, Mode.FROZEN)
    status, found = answer(imaged, "collect")
    assert status == 3
    assert "restored from a backup; lifted by: treescale collect --after" in found["rows"]["paused"]
    seen = imaged.json("cluster", "status")
    assert seen["collecting"] == "no: the database was restored from a backup"
    assert seen["collecting_lifted_by"].startswith("treescale collect --after-restore")
    assert freeing(imaged)["deleted"]["free_at_the_latest"] is None, "nobody knows when"
    switch(imaged, Mode.ON)
    assert imaged.json("cluster", "status")["collecting"] == "yes"


def test_while_somebody_has_stopped_it_nothing_goes(orphaned: Command) -> None:
    orphaned.here("cluster", "set", "collection=off")
    result = orphaned.run("collect", "--data", str(orphaned.data))
    assert result.exit_code == 3
    assert "somebody has stopped it; lifted by: `treescale cluster set collection=on" in (
        result.stderr
    )
    assert there(orphaned) == ALL
    assert "say collection=on" in orphaned.refused("cluster", "set", "collection=maybe")
    orphaned.here("cluster", "set", "collection=on")
    orphaned.here("collect")
    assert there(orphaned) != ALL


def test_what_is_frozen_is_not_set_on(orphaned: Command) -> None:
    switch(orphaned, Mode.FROZEN)
    assert "collect --after-restore" in orphaned.refused("cluster", "set", "collection=on")


def test_more_than_a_fifth_needs_a_word(orphaned: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    monkeypatch.setattr(orphans, "GUARD_SHARE", 0.1)
    status, found = answer(orphaned, "collect")
    assert (status, found["removed"], found["paused"]) == (3, 0, 1)
    (paused,) = [x for x in orphaned.json("cluster", "status")["collection"] if x["paused"]]
    assert paused["lifted_by"].startswith("treescale collect --resume")
    assert there(orphaned) == ALL
    status, found = answer(orphaned, "collect", "--resume")
    assert (status, found["removed"]) == (0, 2)
    assert there(orphaned) == WITHOUT_ORPHANS


def test_a_restored_database_is_frozen_until_somebody_has_looked(orphaned: Command) -> None:
    switch(orphaned, Mode.FROZEN)
    status, found = answer(orphaned, "collect")
    assert (status, found["removed"]) == (3, 0)
    assert "collect --after-restore" in found["reasons"][0]
    result = orphaned.run("collect", "--after-restore", "--data", str(orphaned.data))
    assert result.exit_code == 0, result.output
    assert "orphans\t2" in result.stdout
    assert "Collection goes on" in result.stdout
    assert there(orphaned) == ALL

    async def setting(database: Database) -> str | None:
        return await database.settings.get(COLLECTION_SETTING)

    assert orphaned.database(setting) is None
    assert (
        "not frozen"
        in orphaned.run("collect", "--after-restore", "--data", str(orphaned.data)).stderr
    )


def test_one_thing_at_a_time(orphaned: Command) -> None:
    assert orphaned.run("collect", "--dry-run", "--resume").exit_code == 2


@pytest.mark.long
def test_a_store_that_cannot_be_asked_is_named(orphaned: Command) -> None:
    (orphaned.data / "two" / "store.json").rename(orphaned.data / "two" / "elsewhere")
    result = orphaned.run("collect", "--data", str(orphaned.data))
    assert result.exit_code == 3
    assert "not_asked\t" in result.stdout
    assert there(orphaned) == WITHOUT_ORPHANS


def test_what_a_wrong_clock_makes_old_stays(
    orphaned: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps while it runs are noticed; see also tests/maintenance/collection."""
    from treescale.chunks.disk.quiet import Quiet  # noqa: PLC0415

    monkeypatch.setattr(Quiet, "stretch", lambda *_: 1)
    monkeypatch.setattr(Quiet, "left", lambda *_: 60.0)
    status, found = answer(orphaned, "collect")
    assert (status, found["removed"]) == (3, 0)
