"""`treescale cluster`: what an administrator sees and says of servers and stores."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Command
from tests.contracts.metadata_values import ACTOR
from tests.postgres import postgres, postgres_url
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.clock import Clock, SystemClock
from treescale.cluster import admin
from treescale.cluster.membership import Membership, join
from treescale.maintenance.stopping import LEASE
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import (
    Blob,
    Manifest,
    NewBlob,
    Noted,
    OwedCopies,
    ServerRecord,
    StoreRecord,
    StoreReport,
    StoreWalk,
    Throughput,
)
from treescale.oci.digest import digest_of
from treescale.oci.manifests import Reference, ReferenceKind

__all__ = ["postgres", "postgres_url"]

NOW = 1_700_000_000.0
ROOM = 1_000_000


async def turn(database: Database) -> None:
    """Let the first server look, as it does every 5 s."""
    report = StoreReport("a" * 32, ROOM, ROOM // 4)
    await Membership(database, "A", SystemClock()).heartbeat([report])


async def three(database: Database) -> None:
    """Three servers, just started, with a store each."""
    for name, zone in zip("ABC", ("east", "west", "west"), strict=True):
        server = ServerRecord(name, f"host-{name}", f"http://{name}:5000", zone, started=NOW)
        store = StoreRecord(name.lower() * 32, server.name, "/data", zone, 1.0, NOW, server_id=name)
        await join(database, server, [store], alone=False)
    await turn(database)


async def push(database: Database) -> None:
    """Two repositories share a chunk."""
    shared, own = (b"\x01" * 32, 2_000_000), (b"\x02" * 32, 1_000_000)
    for name, digit, parts in (("alice/app", "a", (shared, own)), ("bob/app", "b", (shared,))):
        size = sum(length for _, length in parts)
        blob = Blob(f"sha256:{digit * 64}", size, None, encode(Recipe(DEFAULT, parts)))
        await database.blobs.commit(
            name, NewBlob(blob, parts), upload_id=None, now=NOW, actor=ACTOR
        )


@pytest.fixture
def trio(command: Command) -> Command:
    command.database(three)
    return command


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody be silent, without a wait."""
    monkeypatch.setattr("treescale.cluster.liveness.LIVE_SECONDS", -1.0)


def test_status_shows_servers_stores_and_the_layout(trio: Command) -> None:
    status = trio.json("cluster", "status")
    assert (status["layout"], status["copies"], status["copies_asked"]) == (1, 3, None)
    assert [
        (row["server"], row["address"], row["zone"], row["state"], row["stores"])
        for row in status["servers"]
    ] == [
        ("host-A", "http://A:5000", "east", "up", 1),
        ("host-B", "http://B:5000", "west", "up", 1),
        ("host-C", "http://C:5000", "west", "up", 1),
    ]
    first, *_ = status["stores"]
    assert (first["state"], first["condition"], first["in_layout"]) == ("active", "up", True)
    assert (first["fill"], first["total_bytes"], first["free_bytes"]) == (0.75, ROOM, ROOM // 4)
    assert [each["about"] for each in status["advice"]] == ["pushes"], "two zones are no more"


def test_pipes_tell_the_lists_apart(trio: Command) -> None:
    lines = [line.split("\t") for line in trio.here("cluster", "status").splitlines()]
    assert ["layout", "1"] in lines
    assert ["copies", "3"] in lines
    stores = [line for line in lines if line[0] == "store"]
    assert stores[0] == (
        f"store {'a' * 32} host-A east /data active up yes 0.75 {ROOM} {ROOM // 4} 0 0".split()
        + ["-"] * 5
    )
    assert [line[1] for line in lines if line[0] == "server"] == ["host-A", "host-B", "host-C"]
    assert [line[1] for line in lines if line[0] == "advice"] == ["pushes"]


def test_people_see_tables(trio: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("terminal.output", "cluster"):
        monkeypatch.setattr(f"treescale.cli.{place}.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    trio.here("cluster", "drain", "host-B")
    shown = trio.here("cluster", "status")
    for text in (
        "last heard (UTC)",
        "████████░░  75%",
        "in layout",
        "250 kB",
        "a" * 12,
        "One more",
    ):
        assert text in shown
    assert "a" * 13 not in shown
    assert [word in shown for word in ("active", "draining", "silent")] == [True, True, False]
    monkeypatch.setattr("treescale.cluster.liveness.LIVE_SECONDS", -1.0)
    shown = trio.here("cluster", "status")
    assert "draining, silent" in shown
    assert "active" not in shown
    monkeypatch.setenv("COLUMNS", "80")
    narrow = trio.here("cluster", "status")
    assert "██████░░  75%" in narrow
    assert next(line for line in narrow.splitlines() if "75%" in line).rstrip().endswith(" 0")
    assert "…" not in narrow
    monkeypatch.setenv("COLUMNS", "40")
    blocks = trio.here("cluster", "status")
    assert "copies owed  0" in blocks, "too narrow for a table"
    assert "…" not in blocks


def test_a_clock_that_is_off_is_named_wherever_one_asks(
    trio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def beat(database: Database) -> None:
        await database.servers.heartbeat("A", [], None, 0.04)
        await database.servers.heartbeat("B", [], None, -601.23)

    trio.database(beat)
    status = trio.json("cluster", "status")
    assert [row["clock_error_seconds"] for row in status["servers"]] == [0.0, -601.2, None]
    (told,) = [each["text"] for each in status["advice"] if each["about"] == "clock"]
    assert status["servers"][1]["server"] in told
    assert "10 min behind the database's" in told
    lines = [line.split("\t") for line in trio.here("cluster", "status").splitlines()]
    assert [line[-2] for line in lines if line[0] == "server"] == ["0.0", "-601.2", "-"]
    for place in ("terminal.output", "cluster"):
        monkeypatch.setattr(f"treescale.cli.{place}.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")
    assert "-601.2" in trio.here("cluster", "status")


def test_what_passes_through_each_server_is_shown(
    trio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pull(database: Database) -> None:
        await database.servers.heartbeat("A", [], Throughput(12_300_000, 0, 300_000, 7))
        await database.servers.heartbeat("B", [], Throughput(700_000, 5, 0, 0))

    keys = [
        f"{way}_bytes_per_second"
        for way in ("to_clients", "from_clients", "to_servers", "from_servers")
    ]
    trio.database(pull)
    status = trio.json("cluster", "status")
    assert [[row[key] for key in keys] for row in status["servers"]] == [
        [12_300_000, 0, 300_000, 7],
        [700_000, 5, 0, 0],
        [None] * 4,
    ]
    assert [status[key] for key in keys[:2]] == [13_000_000, 5]
    lines = [line.split("\t") for line in trio.here("cluster", "status").splitlines()]
    assert ["to_clients_bytes_per_second", "13000000"] in lines
    servers = [line for line in lines if line[0] == "server"]
    assert [line[-8:-4] for line in servers] == [
        ["12300000", "0", "300000", "7"],
        ["700000", "5", "0", "0"],
        ["-"] * 4,
    ]
    for place in ("terminal.output", "cluster"):
        monkeypatch.setattr(f"treescale.cli.{place}.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    shown = trio.here("cluster", "status").splitlines()
    rows = [line.split() for line in shown if "http://" in line]
    assert [row[-4:] for row in rows[:2]] == [
        ["12.6", "MB/s", "7", "B/s"],
        ["700", "kB/s", "5", "B/s"],
    ]
    assert rows[2][-2:] == ["unknown", "unknown"]
    assert ["to", "clients", "13", "MB/s"] in [line.split() for line in shown]


async def upgrade(database: Database) -> None:
    """One of the servers is started anew with another version."""
    server = ServerRecord("A", "host-A", "http://A:5000", "east", started=NOW + 1, version="0.2.0")
    assert await database.servers.register(server, live_seconds=60, actor=ACTOR)


def test_versions_are_shown_when_they_differ(
    trio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("terminal.output", "cluster"):
        monkeypatch.setattr(f"treescale.cli.{place}.for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert not re.search(r"state .* version", trio.here("cluster", "status"))
    trio.database(upgrade)
    assert [line["version"] for line in trio.json("cluster", "status")["servers"]] == [
        "0.2.0",
        None,
        None,
    ]
    shown = trio.here("cluster", "status")
    assert "0.2.0" in shown
    assert "unknown" in shown


def test_what_is_owed_is_shown_by_store(trio: Command) -> None:
    async def owe(database: Database) -> None:
        await database.under_replicated.add(
            [(bytes([n]) * 32, "b" * 32) for n in range(3)], now=NOW
        )

    trio.database(owe)
    status = trio.json("cluster", "status")
    assert (status["copies_owed"], status["copies_owed_since"]) == (3, "2023-11-14T22:13:20Z")
    assert [store["copies_owed"] for store in status["stores"]] == [0, 3, 0]
    assert "owed" in [each["about"] for each in status["advice"]]


def test_one_server_without_heartbeats_shows_its_disks_and_what_deduplication_saves(
    command: Command, tmp_path: Path
) -> None:
    here, away = tmp_path / "here", tmp_path / "away"
    for path, store in ((here, "1" * 32), (away, "9" * 32)):
        path.mkdir()
        (path / "store.json").write_text(json.dumps({"format": 1, "store": store}))

    async def register(database: Database) -> None:
        for store, path in (("1" * 32, here), ("2" * 32, away), ("3" * 32, tmp_path / "no")):
            record = StoreRecord(store, "server1", str(path), "", 1.0, NOW)
            await database.stores.register(record)
        await push(database)

    command.database(register)
    status = command.json("cluster", "status")
    assert (status["repositories"], status["chunks"]) == (2, 2)
    assert (status["pushed_bytes"], status["stored_bytes"]) == (5_000_000, 3_000_000)
    assert status["deduplication_saved_bytes"] == 2_000_000
    assert status["deduplication_saved_percent"] == 40.0
    first, second, third = status["stores"]
    assert first["total_bytes"] >= first["free_bytes"] > 0
    assert 0 <= first["fill"] <= 1
    assert second["free_bytes"] is None, "another store lies at this path"
    assert third["free_bytes"] is None
    (server,) = status["servers"]
    assert (server["server"], server["state"], server["stores"]) == ("server1", "stopped", 3)
    assert (status["layout"], status["advice"]) == (None, [])
    assert "deduplication_saved_percent\t40.0" in command.here("cluster", "status")


def test_an_empty_cluster_saves_nothing(command: Command) -> None:
    status = command.json("cluster", "status")
    assert (status["deduplication_saved_percent"], status["stores"]) == (0.0, [])
    assert "store\t" not in command.here("cluster", "status")


def test_copies_are_set_and_it_is_said_what_follows(trio: Command) -> None:
    told = trio.here("cluster", "set", "copies=2")
    assert told.startswith("2 copies of each chunk are asked for (3 in the present layout).")
    assert "What is there follows" in told
    assert "The layout follows" in told
    trio.database(turn)
    status = trio.json("cluster", "status")
    assert (status["copies"], status["copies_asked"]) == (2, 2)
    assert trio.json("cluster", "set", "copies=2") == {"copies": 2}
    assert "The layout follows" not in trio.here("cluster", "set", "copies=2")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("copies=4", "the cluster has 3"),
        ("copies=0", "from 1 to"),
        ("copies=many", "from 1 to"),
        ("copies", "say copies=3"),
        ("copy=3", "say copies=3"),
    ],
)
def test_copies_that_cannot_be_are_refused(trio: Command, setting: str, says: str) -> None:
    assert says in trio.refused("cluster", "set", setting)
    assert trio.json("cluster", "status")["copies_asked"] is None


@pytest.mark.parametrize(
    ("setting", "stored", "seconds"),
    [
        ("undelete=7d", "604800s", 604_800),
        ("undelete=0", "0s", 0),
        ("lease=2h", "7200s", 7200),
        ("untagged=30d", "2592000s", 2_592_000),
        ("untagged=keep", None, None),
    ],
)
def test_times_of_collection_are_set(
    trio: Command, setting: str, stored: str | None, seconds: float | None
) -> None:
    name = setting.partition("=")[0]
    assert trio.json("cluster", "set", setting) == {name: seconds}
    assert trio.database(lambda database: database.settings.get(name)) == stored


def test_a_lease_of_seconds_is_for_tests(trio: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1h to 30d" in trio.refused("cluster", "set", "lease=60s")
    assert "is not a time" in trio.refused("cluster", "set", "undelete=soon")
    assert "1d or more, or keep" in trio.refused("cluster", "set", "untagged=1h")
    monkeypatch.setenv("TREESCALE_UNSAFE_LEASES", "1")
    assert trio.json("cluster", "set", "lease=60s") == {"lease": 60}


def test_before_the_first_layout_copies_may_be_asked_for_and_stores_drained(
    command: Command,
) -> None:
    async def register(database: Database) -> None:
        await database.stores.register(StoreRecord("a", "host", "/a", "", 1.0, NOW))

    command.database(register)
    assert "no layout yet" in command.here("cluster", "set", "copies=1")
    assert "It is not in the layout." in command.here("cluster", "drain", "host")


def test_draining_says_what_it_does_and_what_it_does_not(trio: Command) -> None:
    told = trio.here("cluster", "drain", "host-B")
    assert "It leaves the layout within seconds" in told
    assert "2 copies then instead of 3" in told
    assert "cluster set copies=3" in told
    assert "keep it in service until" in told
    trio.database(turn)
    assert "instead of" not in trio.here("cluster", "drain", "host-B")
    assert "It is not in the layout." in trio.here("cluster", "drain", "host-B")
    assert trio.json("cluster", "drain", "b") == {
        "target": f"host-B:/data ({'b' * 32})",
        "stores": ["b" * 32],
        "state": "draining",
        "in_layout": False,
        "held": [],
    }
    assert trio.json("cluster", "status")["stores"][1]["state"] == "draining"
    assert "is active" in trio.here("cluster", "undrain", "host-B:/data")
    trio.database(turn)
    assert trio.json("cluster", "status")["stores"][1]["in_layout"] is True


def test_a_drain_that_has_to_wait_for_a_store_says_so(trio: Command) -> None:
    trio.here("cluster", "set", "copies=3")
    told = trio.here("cluster", "drain", "host-C")
    assert "It is in the layout still: fewer stores than copies would be left" in told


def test_drain_waits_for_the_layout(trio: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    look = admin.left_to_move

    async def left(database: Database, stores: tuple[str, ...], clock: Clock) -> list[str]:
        found = await look(database, stores, clock)
        if found:
            waited.append(found)
            await turn(database)
            await database.walks.put(
                StoreWalk("b" * 32, 2, 0, 0, 0, rate=0, looked=0.0, verified=0.0)
            )
        return found

    monkeypatch.setattr("treescale.cluster.admin.left_to_move", left)
    monkeypatch.setattr("treescale.cli.cluster.POLL_SECONDS", 0.0)
    where = ("--data", str(trio.data))
    done = trio.run("cluster", "drain", "host-B", "--wait", "--json", *where)
    assert (done.exit_code, len(waited)) == (0, 1)
    assert json.loads(done.stdout)["in_layout"] is False
    assert "is in the layout" in done.stderr


def test_the_permission_to_stop_is_asked_for_and_given_back(trio: Command) -> None:
    where = ("--data", str(trio.data))
    done = trio.run("cluster", "may-stop", "host-A", "--json", *where)
    assert done.exit_code == 3, "its stores have still to be looked at"
    assert json.loads(done.stdout)["may_stop"] is False
    assert "are still to be looked at" in json.loads(done.stdout)["reason"]

    async def let_go(database: Database) -> int | None:
        return await database.leases.hold(LEASE, "A/0.0", 60.0)

    assert trio.database(let_go) is not None
    done = trio.run("cluster", "may-stop", "host-B", "--json", *where)
    assert done.exit_code == 3
    assert "host-A (http://A:5000) may be stopped" in json.loads(done.stdout)["reason"]
    assert "given back" in trio.here("cluster", "may-stop", "host-A", "--release")
    done = trio.run("cluster", "may-stop", "host-B", "--json", *where)
    assert "are still to be looked at" in json.loads(done.stdout)["reason"]
    assert "say which is meant" in trio.refused("cluster", "may-stop")


def test_names_that_mean_nothing_or_several_things_are_refused(trio: Command) -> None:
    for verb in ("drain", "undrain", "forget"):
        assert "host-A (http://A:5000), host-B" in trio.refused("cluster", verb, "host-D")
        assert "say which" in trio.refused("cluster", verb, "/data")


def test_who_is_up_is_not_forgotten(trio: Command) -> None:
    assert "stop it" in trio.refused("cluster", "forget", "host-C", "--lost")


@pytest.mark.usefixtures("away")
def test_who_is_gone_is_forgotten_with_what_it_was_owed(trio: Command) -> None:
    async def owe(database: Database) -> None:
        await database.under_replicated.add([(bytes(32), "c" * 32)], now=NOW)

    trio.database(owe)
    told = trio.here("cluster", "forget", "host-C")
    assert told.startswith("host-C (http://C:5000) is forgotten; copies that it was owed: 1.")
    status = trio.json("cluster", "status")
    assert [row["server"] for row in status["servers"]] == ["host-A", "host-B"]
    assert status["copies_owed"] == 0
    row = trio.json("cluster", "forget", "b")
    assert row == {"forgotten": row["forgotten"], "stores": ["b" * 32], "debts_struck": 0}


@pytest.mark.usefixtures("away")
def test_last_copies_are_not_forgotten_without_a_word(trio: Command) -> None:
    async def push_to_one_copy(database: Database) -> None:
        await database.settings.put("copies", "1")
        await turn(database)
        await push(database)

    trio.database(push_to_one_copy)
    told = trio.refused("cluster", "forget", "host-C", "--yes")
    assert "last copies" in told
    assert "--lost" in told
    assert len(trio.json("cluster", "status")["stores"]) == 3
    trio.here("cluster", "forget", "host-C", "--lost")


@pytest.mark.usefixtures("away")
def test_at_a_terminal_forgetting_is_confirmed(
    trio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda number: number == 0)
    where = ("--data", str(trio.data))
    asked = trio.run("cluster", "forget", "host-C", *where, text_in="n\n")
    assert (asked.exit_code, "Forget host-C" in asked.output) == (1, True)
    assert len(trio.json("cluster", "status")["servers"]) == 3
    trio.here("cluster", "forget", "host-C", "--yes")
    assert len(trio.json("cluster", "status")["servers"]) == 2


def on(url: str, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
    async def opened() -> Answer:
        database = open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(opened())


@pytest.mark.usefixtures("away")
def test_all_of_it_works_on_postgresql(command: Command, postgres_url: str) -> None:
    async def fill(database: Database) -> None:
        await three(database)
        await push(database)
        await database.under_replicated.add([(bytes(32), "c" * 32)], now=NOW)

    def answer(*words: str) -> object:
        result = command.run("cluster", *words, "--database", postgres_url, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    on(postgres_url, fill)
    status = answer("status")
    assert isinstance(status, dict)
    assert (status["layout"], status["copies_owed"], status["chunks"]) == (1, 1, 2)
    answer("set", "copies=2")
    answer("drain", "host-B")
    answer("undrain", "host-B")
    answer("forget", "host-C")

    async def owed(database: Database) -> list[OwedCopies]:
        return await database.under_replicated.summary()

    assert on(postgres_url, owed) == []
    shown = command.run("repo", "show", "alice/app", "--database", postgres_url, "--json")
    places = json.loads(shown.stdout)["belongs_on"]
    assert [(place["server"], place["chunks"]) for place in places] == [
        ("host-A", 2),
        ("host-B", 2),
    ]


async def lose(database: Database) -> None:
    """Lose the chunk that two repositories share; one of them has a tag for it."""
    await push(database)
    payload = b"{}"
    layer = Reference(f"sha256:{'a' * 64}", ReferenceKind.BLOB, required=True)
    kept = Manifest(str(digest_of(payload)), "application/json", payload)
    await database.manifests.put("alice/app", kept, [layer], ["1"], now=NOW, actor=ACTOR)
    stores = [store.store_id for store in await database.stores.list()]
    assert await database.lost.note(b"\x01" * 32, stores) is Noted.NEW


def test_what_is_lost_is_listed_until_it_is_healed(trio: Command) -> None:
    trio.database(lose)
    status = trio.json("cluster", "status")
    assert (status["lost_chunks"], status["lost_blobs"]) == (1, 2)
    assert status["lost_since"]
    mine, theirs = status["lost"]
    assert (mine["repository"], mine["tags"], mine["lost_chunks"]) == ("alice/app", ["1"], 1)
    assert mine["chunks"] == ["01" * 32]
    assert (theirs["repository"], theirs["tags"]) == ("bob/app", None)
    (text,) = [each["text"] for each in status["advice"] if each["about"] == "lost"]
    assert "alice/app:1" in text
    lines = [line.split("\t") for line in trio.here("cluster", "status").splitlines()]
    assert [line[1:3] for line in lines if line[0] == "lost"] == [
        ["alice/app", "1"],
        ["bob/app", "-"],
    ]
    assert ["lost_blobs", "2"] in lines

    async def heal(database: Database) -> None:
        await database.lost.heal([b"\x01" * 32])

    trio.database(heal)
    status = trio.json("cluster", "status")
    assert (status["lost_chunks"], status["lost"], status["lost_since"]) == (0, [], None)
    assert "lost" not in [each["about"] for each in status["advice"]]


def test_a_long_list_of_what_is_lost_is_cut_and_says_so(
    trio: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treescale.maintenance.report.reading.LOST_BLOBS_LISTED_MAX", 1)
    trio.database(lose)
    shown = trio.run("cluster", "status", "--data", str(trio.data))
    assert "Of 2 lost blobs the first 1 are shown" in shown.stderr
    status = trio.json("cluster", "status")
    assert (len(status["lost"]), status["lost_blobs"]) == (1, 2)
    (text,) = [each["text"] for each in status["advice"] if each["about"] == "lost"]
    assert "and more" in text


def test_after_the_layout_changed_nobody_knows_what_is_owed(trio: Command) -> None:
    async def grow(database: Database) -> None:
        await push(database)
        before = await database.layouts.latest()
        assert before is not None
        fewer = replace(before, number=2, stores=before.stores[:2], copies=2)
        assert await database.layouts.propose(fewer, actor=ACTOR)
        assert await database.layouts.propose(replace(before, number=3), actor=ACTOR)

    trio.database(grow)
    status = trio.json("cluster", "status")
    assert (status["copies_owed"], status["copies_owed_noted"]) == (None, 0)
    assert status["partitions_uncounted"] == 4096
    assert [store["copies_owed"] for store in status["stores"]] == [0, 0, None]
    assert "not known" in "".join(e["text"] for e in status["advice"] if e["about"] == "owed")


def test_savings_are_never_negative(trio: Command) -> None:
    async def fail(database: Database) -> None:
        await push(database)
        await database.repositories.delete("alice/app", actor=ACTOR)

    trio.database(fail)
    status = trio.json("cluster", "status")
    assert (status["pushed_bytes"], status["stored_bytes"]) == (2_000_000, 3_000_000)
    assert status["unreferenced_bytes"] == 1_000_000
    assert status["deduplication_saved_bytes"] == 0
    assert status["deduplication_saved_percent"] == 0.0
