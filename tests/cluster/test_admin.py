"""Setting copies, draining, waiting, forgetting."""

from dataclasses import replace

import pytest

from tests.contracts.metadata_values import ACTOR, large, part, small
from tests.fakes_disk import JumpingClock
from treescale.clock import SystemClock
from treescale.cluster import admin
from treescale.cluster.layout import Blocked
from treescale.cluster.lookup import Target, resolve
from treescale.cluster.membership import Membership, join
from treescale.errors import LastCopies, ServerUnknown, SettingInvalid, Unsupported
from treescale.metadata.database import Database
from treescale.metadata.records import (
    LayoutRecord,
    LayoutStore,
    ServerRecord,
    StoreRecord,
    StoreWalk,
)
from treescale.metadata.records import (
    StoreState as State,
)


async def three(database: Database) -> None:
    """Servers A, B, C with a store each, and the layout they make."""
    for name in "ABC":
        server = ServerRecord(name, f"host-{name}", f"http://{name}", "", started=0.0)
        store = StoreRecord(name.lower() * 32, server.name, "/data", "", 1.0, 0.0, server_id=name)
        await join(database, server, [store], alone=False)
    await turn(database)


async def turn(database: Database) -> None:
    """Let A look at the rows, as it does every 5 s."""
    await Membership(database, "A", SystemClock()).heartbeat([])


async def put_layout(database: Database, names: str, copies: int) -> None:
    latest = await database.layouts.latest()
    stores = tuple(LayoutStore(name.lower() * 32, name, "", 1.0) for name in names)
    number = latest.number + 1 if latest else 1
    assert await database.layouts.propose(LayoutRecord(number, stores, copies, 0.0), actor=ACTOR)


async def members(database: Database) -> str:
    latest = await database.layouts.latest()
    assert latest is not None
    return "".join(store.server for store in latest.stores)


async def target(database: Database, word: str) -> Target:
    creditors = [debt.store_id for debt in await database.under_replicated.summary()]
    return resolve(word, await database.servers.list(), await database.stores.list(), creditors)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody count as silent at once."""
    monkeypatch.setattr("treescale.cluster.liveness.LIVE_SECONDS", -1.0)


async def test_copies_are_asked_for_and_the_layout_follows(database: Database) -> None:
    await three(database)
    assert await admin.set_copies(database, "2", actor=ACTOR) == 2
    await turn(database)
    latest = await database.layouts.latest()
    assert latest is not None
    assert latest.copies == 2


@pytest.mark.parametrize("text", ["0", "4", "11", "three", "", "-1", "2.5"])
async def test_copies_that_cannot_be_are_refused(database: Database, text: str) -> None:
    await three(database)
    with pytest.raises(SettingInvalid):
        await admin.set_copies(database, text, actor=ACTOR)
    assert await database.settings.get("copies") is None


async def test_draining_stores_count_for_no_copies(database: Database) -> None:
    await three(database)
    await database.stores.set_state("c" * 32, State.DRAINING, actor=ACTOR)
    with pytest.raises(SettingInvalid, match="the cluster has 2"):
        await admin.set_copies(database, "3", actor=ACTOR)


async def test_draining_takes_a_server_out_and_back(database: Database) -> None:
    await three(database)
    found = await target(database, "host-B")
    await admin.set_state(database, found, State.DRAINING, actor=ACTOR)
    await turn(database)
    assert await members(database) == "AC"
    await admin.set_state(database, found, State.ACTIVE, actor=ACTOR)
    await turn(database)
    assert await members(database) == "ABC"


async def test_a_server_without_stores_has_nothing_to_drain(database: Database) -> None:
    gate = ServerRecord("G", "gate", "http://gate", "", started=0.0)
    await join(database, gate, [], alone=False)
    with pytest.raises(Unsupported, match="no stores"):
        await admin.set_state(database, await target(database, "gate"), State.DRAINING, actor=ACTOR)


def walk(store: str, layout: int, *, pending: int = 0, misplaced: int = 0) -> StoreWalk:
    return StoreWalk(store, layout, pending, 0, misplaced, rate=0, looked=0.0, verified=0.0)


async def test_waiting_ends_when_a_store_is_out_of_the_layout_and_empty(
    database: Database,
) -> None:
    await three(database)
    await admin.set_copies(database, "2", actor=ACTOR)
    found = await target(database, "host-C")
    await admin.set_state(database, found, State.DRAINING, actor=ACTOR)
    steps = [
        lambda: turn(database),
        lambda: database.walks.put(walk("c" * 32, 2, pending=9, misplaced=1200)),
        lambda: database.walks.put(walk("c" * 32, 2)),
    ]
    clock, told = JumpingClock(), list[str]()
    while left := await admin.left_to_move(database, found.store_ids, clock):
        told += left
        await steps.pop(0)()
    assert told == [
        "host-C:/data is in the layout",
        "host-C:/data has not begun",
        "host-C:/data holds 1,200 copies to be moved, and has 9 partitions to look at",
    ]
    assert await members(database) == "AB"


async def test_waiting_for_what_cannot_be_ends_at_once_with_the_reason(database: Database) -> None:
    await three(database)
    await admin.set_copies(database, "3", actor=ACTOR)
    found = await target(database, "host-C")
    await admin.set_state(database, found, State.DRAINING, actor=ACTOR)
    with pytest.raises(Unsupported, match=Blocked.TOO_FEW_LEFT.value):
        await admin.left_to_move(database, found.store_ids, JumpingClock())


async def test_waiting_says_when_nobody_is_there_to_change_the_layout(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(database)
    monkeypatch.setattr("treescale.cluster.liveness.LIVE_SECONDS", -1.0)
    told = await admin.left_to_move(database, ["c" * 32], JumpingClock())
    assert told == ["no server is up: the first that starts makes the next layout"]
    monkeypatch.undo()
    await put_layout(database, "AB", 2)
    await database.walks.put(walk("c" * 32, 2))
    assert await admin.left_to_move(database, ["c" * 32], JumpingClock()) == []


async def push(database: Database, now: float) -> None:
    """Let there be a repository with a chunk since then, placed by nobody knows which layout."""
    await database.blobs.commit(
        "alice/app", large(9, part(9)), upload_id=None, now=now, actor=ACTOR
    )


async def test_who_is_up_is_not_forgotten(database: Database) -> None:
    await three(database)
    for word in ("host-C", "c" * 32):
        with pytest.raises(Unsupported, match="in use"):
            await admin.forget(database, await target(database, word), lost=True, actor=ACTOR)
    assert len(await database.stores.list()) == 3


async def test_a_disk_in_trouble_is_forgotten_while_its_server_is_up(database: Database) -> None:
    await three(database)
    found = await target(database, "c" * 32)
    sick = replace(found, stores=(replace(found.stores[0], trouble="i/o error"),))
    assert await admin.forget(database, sick, lost=False, actor=ACTOR) == 0
    assert [store.server_id for store in await database.stores.list()] == ["A", "B"]


@pytest.mark.usefixtures("silent")
async def test_a_server_is_forgotten_with_its_stores_and_what_they_were_owed(
    database: Database,
) -> None:
    await three(database)
    await push(database, now=SystemClock().now() + 120)
    await database.under_replicated.add(
        [(bytes(31) + b"%c" % n, "c" * 32) for n in range(3)], now=0.0
    )
    assert (
        await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR) == 3
    )
    assert [server.server_id for server in await database.servers.list()] == ["A", "B"]
    assert await database.under_replicated.summary() == []
    await turn(database)
    assert await members(database) == "AB"


@pytest.mark.usefixtures("silent")
async def test_last_copies_are_not_forgotten_by_mistake(database: Database) -> None:
    await three(database)
    await push(database, now=0.0)
    await put_layout(database, "ABC", 1)
    found = await target(database, "host-C")
    with pytest.raises(LastCopies, match=r"3\d% of what was pushed under layout 2, the present"):
        await admin.forget(database, found, lost=False, actor=ACTOR)
    assert len(await database.servers.list()) == 3
    assert await admin.forget(database, found, lost=True, actor=ACTOR) == 0
    with pytest.raises(ServerUnknown):
        await target(database, "host-C")


@pytest.mark.usefixtures("silent")
async def test_a_drained_store_is_the_only_place_of_what_an_older_layout_put_there(
    database: Database,
) -> None:
    await three(database)
    await push(database, now=0.0)
    await put_layout(database, "C", 1)
    await put_layout(database, "AB", 2)
    with pytest.raises(LastCopies, match="100% of what was pushed under layout 2"):
        await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("deleted", ["alice/old", "alice/other"])
async def test_a_blob_may_be_older_than_every_repository_that_has_it(
    database: Database, deleted: str
) -> None:
    """Mounted from one that was deleted since; else the old layout would be passed over."""
    await three(database)
    await put_layout(database, "C", 1)
    blob = large(1, part(1))
    await database.blobs.commit("alice/old", blob, upload_id=None, now=0.0, actor=ACTOR)
    await put_layout(database, "AB", 2)
    digest = blob.blob.digest
    await database.repositories.set_public("alice/other", public=False, now=1000.0, actor=ACTOR)
    await database.blobs.commit(
        "alice/young", small(2, b"x"), upload_id=None, now=2000.0, actor=ACTOR
    )
    assert await database.blobs.mount("alice/young", digest, ["alice/old"], now=2000.0, actor=ACTOR)
    await database.repositories.delete(deleted, actor=ACTOR)
    with pytest.raises(LastCopies, match="100% of what was pushed under layout 2"):
        await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)
    for name in {"alice/old", "alice/other", "alice/young"} - {deleted}:
        await database.repositories.delete(name, actor=ACTOR)
    await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)


@pytest.mark.usefixtures("silent")
async def test_the_first_server_of_a_new_cluster_may_go_when_nothing_was_placed_by_its_rule(
    database: Database,
) -> None:
    """Servers join one after the other, and the first push comes a moment later."""
    await three(database)
    await put_layout(database, "C", 1)
    await put_layout(database, "ABC", 2)
    blob = replace(large(9, part(9)), layout=3)
    await database.blobs.commit(
        "alice/app", blob, upload_id=None, now=SystemClock().now(), actor=ACTOR
    )
    await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)


@pytest.mark.usefixtures("silent")
async def test_what_an_upload_begun_before_has_placed_counts(database: Database) -> None:
    await three(database)
    await put_layout(database, "C", 1)
    await put_layout(database, "ABC", 2)
    for number, layout in ((8, 3), (9, 2)):
        blob = replace(large(number, part(number)), layout=layout)
        await database.blobs.commit("alice/app", blob, upload_id=None, now=2e12, actor=ACTOR)
    with pytest.raises(LastCopies, match="100% of what was pushed under layout 2"):
        await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)


async def test_a_full_disk_of_a_living_server_is_in_use(database: Database) -> None:
    await three(database)
    found = await target(database, "c" * 32)
    full = replace(found, stores=(replace(found.stores[0], seen=0.0, trouble="full: no room"),))
    with pytest.raises(Unsupported, match="in use"):
        await admin.forget(database, full, lost=True, actor=ACTOR)


@pytest.mark.usefixtures("silent")
async def test_while_nothing_was_pushed_nothing_is_lost(database: Database) -> None:
    await three(database)
    await put_layout(database, "ABC", 1)
    await admin.forget(database, await target(database, "host-C"), lost=False, actor=ACTOR)


@pytest.mark.usefixtures("silent")
async def test_copies_that_the_others_are_owed_are_last_copies_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(database)
    await push(database, now=SystemClock().now() + 120)
    chunk = b"\x77" * 32
    await database.under_replicated.add([(chunk, "a" * 32), (chunk, "b" * 32)], now=0.0)
    found = await target(database, "host-C")
    with pytest.raises(LastCopies, match="1 chunks whose other homes are owed"):
        await admin.forget(database, found, lost=False, actor=ACTOR)
    monkeypatch.setattr("treescale.cluster.queries.MISSING_READ_MAX", 0)
    with pytest.raises(LastCopies, match="too much is owed"):
        await admin.forget(database, found, lost=False, actor=ACTOR)


@pytest.mark.usefixtures("silent")
async def test_without_a_layout_nobody_can_tell_what_is_lost(database: Database) -> None:
    await database.stores.register(StoreRecord("a", "host", "/a", "", 1.0, 0.0))
    await database.stores.register(StoreRecord("b", "host", "/b", "", 1.0, 0.0))
    await push(database, now=0.0)
    found = await target(database, "/a")
    with pytest.raises(LastCopies, match="no layout"):
        await admin.forget(database, found, lost=False, actor=ACTOR)
    await admin.forget(database, found, lost=True, actor=ACTOR)
    assert [store.store_id for store in await database.stores.list()] == ["b"]


async def test_what_a_store_forgotten_before_was_owed_is_struck_off(database: Database) -> None:
    await three(database)
    await push(database, now=0.0)
    await database.under_replicated.add([(bytes(32), "dead")], now=0.0)
    assert (
        await admin.forget(database, await target(database, "dead"), lost=False, actor=ACTOR) == 1
    )
    await database.under_replicated.add([(bytes(32), "dead")], now=0.0)
    dead = await target(database, "dead")
    with pytest.raises(Unsupported):
        await admin.set_state(database, dead, State.DRAINING, actor=ACTOR)
