"""Purging from the command line, while no server runs: what was deleted is gone from the disks."""

import asyncio
import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import null, select, text

from tests.cli.conftest import Command
from tests.cli.walked import DATA, answer, own_log, pair, quick, threads
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, digest, large, manifest
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.store import chunk_id_of
from treescale.cli import purge
from treescale.cli.reports.job_report import INTERRUPTED
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance import purger
from treescale.maintenance.collection import purge_request
from treescale.maintenance.collection.state import Mode
from treescale.metadata.collection import open_purges, purging
from treescale.metadata.collection.open_purges import OpenPurges, Stand
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.database import Database
from treescale.metadata.records import Blob, NewBlob, ServerRecord, StoreReport
from treescale.metadata.schema import purge_stores

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


async def frozen(database: Database) -> None:
    await database.settings.put(COLLECTION_SETTING, Mode.FROZEN)


async def unreadable(database: Database) -> None:
    await database.settings.put(COLLECTION_SETTING, "On")


def test_not_in_a_database_that_was_restored(deleted: Command) -> None:
    deleted.database(frozen)
    assert "--after-restore" in deleted.refused("collect", "--purge", APP, "--yes")
    assert len(left(deleted)) == 2 * len(DATA) + 2


def test_while_the_setting_cannot_be_read_it_says_so_and_what_mends_it(deleted: Command) -> None:
    deleted.database(unreadable)
    told = deleted.refused("collect", "--purge", APP, "--yes")
    assert "the setting collection cannot be read: 'On' is neither on nor off" in told
    assert "`treescale cluster set collection=on" in told
    assert "--after-restore" not in told
    assert len(left(deleted)) == 2 * len(DATA) + 2
    told = deleted.refused("collect", "--after-restore")
    assert "`treescale cluster set collection=on" in told
    deleted.here("cluster", "set", "collection=on")
    assert answer(deleted, "collect", "--purge", APP, "--yes")[0] == 0


@pytest.fixture
def open_purge(deleted: Command) -> Command:
    """A purge for which one store was away; the disk is back, and nobody has looked yet."""
    label = deleted.data / "two" / "store.json"
    label.rename(label.with_name("elsewhere"))
    assert answer(deleted, "collect", "--purge", f"{APP}:v1", "--yes")[0] == 1
    label.with_name("elsewhere").rename(label)
    return deleted


def test_status_shows_an_open_purge_and_who_has_not_confirmed(open_purge: Command) -> None:
    (shown,) = open_purge.json("cluster", "status")["purges"]
    assert (shown["purge"], shown["chunks"]) == (f"{APP}:v1", len(DATA))
    assert shown["bytes"] == sum(map(len, DATA))
    assert shown["since"]
    names = {store["server"]: store["rounds"] for store in shown["stores"]}
    assert names == {"host-one": 1, "host-two": 0}
    assert shown["unconfirmed"].count("host-two:") == 1
    assert "start host-one, host-two" in shown["what_to_do"]
    assert "`treescale cluster forget host-two`" in shown["what_to_do"]
    lines = open_purge.here("cluster", "status").splitlines()
    (line,) = [line for line in lines if line.startswith("purge\t")]
    assert line.split("\t")[1] == f"{APP}:v1"
    assert "start host-one, host-two" in line
    open_purge.database(frozen)
    (shown,) = open_purge.json("cluster", "status")["purges"]
    assert "--after-restore" in shown["what_to_do"], "until then no store looks"
    open_purge.database(unreadable)
    (shown,) = open_purge.json("cluster", "status")["purges"]
    assert "the setting collection cannot be read" in shown["what_to_do"]
    assert "`treescale cluster set collection=on" in shown["what_to_do"]
    open_purge.database(lambda database: database.settings.remove(COLLECTION_SETTING))
    assert answer(open_purge, "collect", "--purge", f"{APP}:v1", "--yes")[0] == 0
    assert open_purge.json("cluster", "status")["purges"] == []


def test_the_same_command_goes_on_with_it(open_purge: Command) -> None:
    """Also when there is nothing left that was deleted, and what was taken away counts."""
    status, told = answer(open_purge, "collect", "--purge", f"{APP}:v1", "--yes")
    assert (status, told["complete"]) == (0, True)
    assert (told["images"], told["chunks"]) == (0, len(DATA))
    assert told["bytes"] == sum(map(len, DATA))
    assert left(open_purge) == []
    assert "nothing was deleted at" in open_purge.refused(
        "collect", "--purge", f"{APP}:v1", "--yes"
    )


def test_one_that_broke_off_while_rows_went_is_gone_on_with(deleted: Command) -> None:
    async def break_off(database: Database) -> None:
        plan = await PurgeReader(database.connections).plan(APP, "v1", None)
        begun = purging.Purging(database.connections)
        await begun.begin("p", f"{APP}:v1", actor=ACTOR)
        await begun.take("p", plan, actor=ACTOR)

    deleted.database(break_off)
    (shown,) = deleted.json("cluster", "status")["purges"]
    assert f"`treescale collect --purge {APP}:v1`" in shown["what_to_do"]
    assert answer(deleted, "collect", "--purge", f"{APP}:v1", "--yes")[0] == 0
    assert left(deleted) == []


def test_what_a_server_has_ended_meanwhile_goes_on_as_another_purge(
    deleted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does once a purge has taken ten minutes. Control: the command ends with an error."""
    take, ended = purging.Purging.take, list[str]()

    async def late(self: purging.Purging, purge_id: str, *wanted: Any, **named: Any) -> None:
        if not ended:
            ended.append(purge_id)
            await self.finish(purge_id)
        await take(self, purge_id, *wanted, **named)

    monkeypatch.setattr(purging.Purging, "take", late)
    status, told = answer(deleted, "collect", "--purge", f"{APP}:v1", "--yes")
    assert (status, told["chunks"]) == (0, len(DATA))
    assert left(deleted) == []


@pytest.mark.parametrize("moves", [True, False])
def test_it_is_waited_for_as_long_as_anything_moves(
    deleted: Command,
    monkeypatch: pytest.MonkeyPatch,
    moves: bool,  # noqa: FBT001  a parameter
) -> None:
    """And the control, a push that uses it all the time: the command that goes on is told."""
    take, tries = purging.Purging.take, list[float]()
    monkeypatch.setattr(purge, "STUCK_SECONDS", 0.3)
    monkeypatch.setattr(purge_request, "TRY_SECONDS", 0.05)

    async def in_use(self: purging.Purging, *wanted: Any, **named: Any) -> None:
        tries.append(0)
        if moves and len(tries) > 15:
            await take(self, *wanted, **named)
            return
        if moves:
            named["moved"]()
        raise purging.InUse("a push uses it")

    monkeypatch.setattr(purging.Purging, "take", in_use)
    if moves:
        assert answer(deleted, "collect", "--purge", APP, "--yes")[0] == 0
        return
    said = deleted.refused("collect", "--purge", APP, "--yes")
    assert f"`treescale collect --purge {APP} " in said, "with what leads to the same cluster"


def test_who_ends_it_is_told_how_it_goes_on(
    deleted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ctrl_c(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(purging.Purging, "take", ctrl_c)
    result = deleted.run("collect", "--purge", APP, "--yes", "--data", str(deleted.data))
    assert result.exit_code == INTERRUPTED
    assert f"`treescale collect --purge {APP} " in result.stderr
    monkeypatch.undo()
    assert answer(deleted, "collect", "--purge", APP, "--yes")[0] == 0
    assert left(deleted) == []


@pytest.mark.parametrize("notes", [True, False])
def test_a_store_that_takes_long_is_waited_for_while_it_goes_on(
    deleted: Command,
    monkeypatch: pytest.MonkeyPatch,
    notes: bool,  # noqa: FBT001  a parameter
) -> None:
    """And the control, stores that note nothing: the command ends, and names them."""
    monkeypatch.setattr(purge, "STUCK_SECONDS", 0.5)
    monkeypatch.setattr(purger, "ERASED_AT_ONCE", 1)
    monkeypatch.setattr(purger, "NOTE_SECONDS", 0.0 if notes else 60.0)
    erase = DiskStore.erase

    async def slow(self: DiskStore, *wanted: Any) -> list[bytes]:
        await asyncio.sleep(0.2)
        return await erase(self, *wanted)

    monkeypatch.setattr(DiskStore, "erase", slow)
    status, told = answer(deleted, "collect", "--purge", APP, "--yes")
    assert (status, told["complete"]) == ((0, True) if notes else (1, False))
    assert len(told["away"]) == (0 if notes else 2)
    assert len(deleted.database(noted)) == (0 if notes else 2), "it goes with the round"


LOOKS_LONG = 25
"""In these more than `AWAY_SECONDS` go by, which is all that a store that is away is waited for."""
NO_NOTES = open_purges.STANDS.with_only_columns(
    purge_stores.c.purge_id,
    purge_stores.c.store_id,
    purge_stores.c.rounds,
    null().label("looked"),
    null().label("at_work"),
)
WITHHELD = "not served from before what was purged is unlinked"


@pytest.fixture
def withheld(deleted: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A store elsewhere is in trouble, since it has to unlink what is purged; its server lives.

    At each look of a command it notes that it does, and at last confirms.
    """
    label, looks = deleted.data / "two" / "store.json", 0
    two = str(json.loads(label.read_text())["store"])
    label.rename(label.with_name("elsewhere"))
    stands = OpenPurges.stands

    async def live(database: Database) -> None:
        server = ServerRecord("two", "host-two", "http://two:5000", "", started=NOW, version="0.2")
        await database.servers.register(server, live_seconds=15, actor=ACTOR)
        await database.servers.heartbeat("two", [StoreReport(two, 1000, 900, WITHHELD)])

    async def works(self: OpenPurges, purge_ids: Collection[str]) -> dict[str, dict[str, Stand]]:
        nonlocal looks
        looks += 1
        unlinks = purging.Purging(self._connections)
        for due in await unlinks.due_at(two):
            await unlinks.note(two, due, 0)
            if looks > LOOKS_LONG:
                await unlinks.confirm(two, due)
        return await stands(self, purge_ids)

    deleted.database(live)
    monkeypatch.setattr(OpenPurges, "stands", works)
    return deleted


@pytest.mark.parametrize("at_work", [True, False])
def test_a_store_that_is_withheld_is_waited_for_while_it_unlinks(
    withheld: Command,
    monkeypatch: pytest.MonkeyPatch,
    at_work: bool,  # noqa: FBT001  a parameter
) -> None:
    """And the control, one that has noted nothing lately: the command ends, and names it."""
    if not at_work:
        monkeypatch.setattr(open_purges, "STANDS", NO_NOTES)
    status, told = answer(withheld, "collect", "--purge", APP, "--yes")
    assert (status, told["complete"]) == ((0, True) if at_work else (1, False))
    assert [each["why"] for each in told["away"]] == ([] if at_work else [WITHHELD])


def test_status_says_that_a_store_unlinks_though_it_is_in_trouble(
    withheld: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: once it has noted nothing for long it is to be brought back, or forgotten."""

    async def begin(database: Database) -> None:
        plan = await PurgeReader(database.connections).plan(APP, None, None)
        begun = purging.Purging(database.connections)
        await begun.begin("p", APP, actor=ACTOR)
        await begun.take("p", plan, actor=ACTOR)
        await begun.finish("p")
        (one,) = [store for store in await database.stores.list() if not store.trouble]
        await database.servers.heartbeat("one", [StoreReport(one.store_id, 1000, 900)])
        for due in await begun.due_at(one.store_id):
            await begun.confirm(one.store_id, due)

    withheld.database(begin)
    where = f"host-two:{withheld.data / 'two'}"
    (shown,) = withheld.json("cluster", "status")["purges"]
    assert shown["what_to_do"] == f"nothing: {where} is unlinking"
    monkeypatch.setattr(open_purges, "STANDS", NO_NOTES)
    (shown,) = withheld.json("cluster", "status")["purges"]
    assert f"bring back {where} ({WITHHELD})" in shown["what_to_do"]


def test_what_is_said_to_be_complete_is_over(
    deleted: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the command sees that the last store has confirmed before that store ends it."""
    stands = OpenPurges.stands

    async def confirmed(self: OpenPurges, ids: Collection[str]) -> dict[str, dict[str, Stand]]:
        for row in await self._connections.rows(select(purge_stores)):
            said = {"purge": row.purge_id, "store": row.store_id, "seen": row.rounds}
            await self._connections.change(purging.CONFIRM, said)
        return await stands(self, ids)

    async def nothing(_: purger.Purger) -> int:
        return 0

    monkeypatch.setattr(purger.Purger, "turn", nothing)
    monkeypatch.setattr(OpenPurges, "stands", confirmed)
    assert answer(deleted, "collect", "--purge", f"{APP}:v1", "--yes")[0] == 0
    assert "nothing was deleted" in deleted.refused("collect", "--purge", f"{APP}:v1", "--yes")


async def noted(database: Database) -> list[str]:
    """Return which stores say how far they are with a purge."""
    rows = await database.connections.rows(
        text("SELECT store_id FROM purge_stores WHERE looked IS NOT NULL OR noted IS NOT NULL")
    )
    return [row.store_id for row in rows]
