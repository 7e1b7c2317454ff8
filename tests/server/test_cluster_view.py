"""A worker follows the cluster's rows: who is there, which layout is in force, who says so."""

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from tests.contracts.chunk_store import chunk_of
from tests.contracts.metadata_values import ACTOR
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.replication.absent import AbsentStore
from treescale.cluster.membership import Membership, join
from treescale.errors import (
    DatabaseUnavailable,
    NotEnoughStores,
    ServerForgotten,
    StoreUnusable,
    Unreachable,
)
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import ServerRecord, StoreRecord, StoreState, Throughput
from treescale.metrics.traffic import Flow, TrafficCounters
from treescale.server.background import Background
from treescale.server.cluster_view import ClusterView
from treescale.server.data.local_stores import LocalStores
from treescale.server.heartbeat import Heartbeat
from treescale.server.processes.leader_lock import LeaderLock

NO_RESERVE = Reserve(fraction=0.0, bytes_min=0, inodes_min=0)


@dataclass
class Site:
    """A server with one disk, and the database it shares with others."""

    database: Database
    store: DiskStore
    threads: ThreadPoolExecutor
    clock: JumpingClock
    traffic: TrafficCounters = field(default_factory=TrafficCounters)

    async def join(self, name: str, *stores: str) -> None:
        """Have a server join the cluster."""
        server = ServerRecord(name, f"host-{name}", f"http://127.0.0.1:1/{name}", "", started=0.0)
        disks = [
            StoreRecord(store, server.name, f"/{store}", "", 1.0, 0.0, server_id=name)
            for store in stores
        ]
        await join(self.database, server, disks, alone=True)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[ClusterView]:
        """Yield what server A knows, within."""
        async with self.worker() as worker:
            yield worker.view

    @asynccontextmanager
    async def worker(self) -> AsyncIterator["Beating"]:
        """Yield a worker of server A, within."""
        here = LocalStores("A", {self.store.store_id: self.store})
        leases, leads = self.database.leases, LeaderLock().acquire
        async with (
            Background(
                leases, "A", leads=leads, clock=self.clock, chance=lambda: 0.0
            ) as background,
            ClusterView(
                here, self.database, background, threads=self.threads, clock=self.clock
            ) as view,
        ):
            membership = Membership(self.database, "A", self.clock)
            yield Beating(view, Heartbeat(here, membership, view, self.traffic, self.clock))


@dataclass
class Beating:
    """What a worker has of the cluster, and its server's heartbeat."""

    view: ClusterView
    heartbeat: Heartbeat

    async def lead(self) -> None:
        """Have the turn of the worker come that leads."""
        self.heartbeat.measure()
        await self.heartbeat.beat()
        await self.view.follow()

    async def follow(self) -> None:
        """Have the turn of a worker come that does not lead."""
        self.heartbeat.measure()
        await self.view.follow()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
async def site(tmp_path: Path, threads: ThreadPoolExecutor) -> AsyncIterator[Site]:
    database = open_database(empty_database(tmp_path / "shared.db"))
    clock = JumpingClock()
    store = DiskStore.create_or_open(
        tmp_path / "disk", threads=threads, clock=clock, reserve=NO_RESERVE
    )
    site = Site(database, store, threads, clock)
    await site.join("A", store.store_id)
    yield site
    await database.close()


async def turned(site: Site) -> None:
    """Put the layout in force that is due."""
    await Membership(site.database, "A", site.clock).heartbeat([])


async def test_a_worker_knows_no_store_before_there_is_a_layout(site: Site) -> None:
    with pytest.raises(NotEnoughStores):
        async with site.view():
            pytest.fail("there is no layout")


async def test_a_server_alone_keeps_its_chunks_here(site: Site) -> None:
    await turned(site)
    async with site.view() as view:
        chunk, data = chunk_of(1)
        assert (await view.store.write(chunk, data)).stores == (site.store.store_id,)
        assert await site.store.get(chunk) == data
        assert view.is_local(site.store.store_id)
        assert view.is_up(site.store.store_id)
        await view.follow()


async def test_servers_that_come_and_go_are_followed(site: Site) -> None:
    await turned(site)
    async with site.worker() as worker:
        view = worker.view
        await site.join("B", "b1", "b2")
        with capture_logs() as logs:
            await worker.lead()
        met = [line["peer"] for line in logs if line["event"] == "neighbour.met"]
        changed = [line["copies"] for line in logs if line["event"] == "layout.changed"]
        assert (met, changed) == (["B"], [2])
        assert set(view.store.figures) == {site.store.store_id, "b1", "b2"}
        assert not view.is_local("b1")
        await site.database.servers.remove("B", actor=ACTOR)
        with capture_logs() as logs:
            await worker.lead()
        assert "neighbour.gone" in [line["event"] for line in logs]
        assert set(view.store.figures) == {site.store.store_id}


async def test_who_does_not_answer_a_question_is_left_out(site: Site) -> None:
    await turned(site)
    async with site.view() as view:
        await site.join("B", "b1")
        await view.follow()
        assert await view.peers.ask(b"a question") == []


async def test_each_layout_is_told_once_when_it_is_followed(site: Site) -> None:
    def told(logs: list[EventDict]) -> list[tuple[int, int, int]]:
        lines = [line for line in logs if line["event"] == "layout.followed"]
        assert all(line["pid"] == os.getpid() for line in lines)
        return [(line["number"], line["stores"], line["copies"]) for line in lines]

    await turned(site)
    with capture_logs() as logs:
        async with site.worker() as leading, site.worker() as other:
            assert told(logs) == [], "one server has nobody to agree with"
            await site.join("B", "b1")
            await leading.lead()
            assert told(logs) == [(2, 2, 2)]
            await other.follow()
            assert told(logs)[1:] == [(2, 2, 2)]
            await site.database.stores.set_state("b1", StoreState.DRAINING, actor=ACTOR)
            await other.view.follow()  # a row has changed, the layout has not
            await other.follow()
        async with site.view():
            assert told(logs)[2:] == [(2, 2, 2)]
    assert len(told(logs)) == 3


async def test_a_server_that_moved_is_asked_at_its_new_address(site: Site) -> None:
    await turned(site)
    async with site.view() as view:
        await site.join("B", "b1")
        await view.follow()
        await site.database.servers.mark_stopped("B")
        moved = ServerRecord("B", "host-B", "http://127.0.0.1:2", "", started=1.0)
        assert await site.database.servers.register(moved, live_seconds=15, actor=ACTOR)
        with capture_logs() as logs:
            await view.follow()
        urls = [line["url"] for line in logs if line["event"] == "neighbour.met"]
        assert urls == ["http://127.0.0.1:2"]


async def test_a_layout_may_name_a_store_that_nobody_has(site: Site) -> None:
    await turned(site)
    await site.join("B", "b1")
    await turned(site)
    await site.database.stores.remove("b1", actor=ACTOR)
    async with site.view() as view:
        chunk, data = chunk_of(1)
        await site.store.put(chunk, data)
        assert await view.store.get(chunk) == data
        with pytest.raises(NotEnoughStores, match="no server of the cluster has the store b1"):
            await view.store.put(*chunk_of(2))


async def test_only_the_leading_worker_moves_the_layout_on(site: Site) -> None:
    await turned(site)
    async with site.view() as view:
        await site.join("B", "b1")
        await view.follow()
        latest = await site.database.layouts.latest()
        assert latest is not None
        assert latest.number == 1


async def said(site: Site) -> Throughput | None:
    """Return what server A last said of its throughput."""
    return next(each.throughput for each in await site.database.servers.list())


async def test_whoever_leads_says_what_passes_through_all_workers(site: Site) -> None:
    await turned(site)
    async with site.worker() as leading, site.worker() as other:
        await leading.lead()
        await other.follow()
        assert await said(site) is None
        site.clock.seconds += 5
        site.traffic.count(Flow.TO_CLIENTS, 5_000_000)
        site.traffic.count(Flow.FROM_SERVERS, 500)
        await other.follow()
        assert await said(site) is None, "it does not lead"
        await leading.lead()
        assert await said(site) == Throughput(1_000_000, 0, 0, 100)
        site.clock.seconds += 5
        await other.lead()
        assert await said(site) == Throughput(500_000, 0, 0, 50), "it knew the seconds before"


async def test_throughput_alone_is_no_reason_to_lay_out_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turned(site)
    async with site.worker() as worker:
        view = worker.view
        await worker.lead()
        monkeypatch.setattr(view.store, "use_layout", lambda *_: pytest.fail("nothing changed"))
        site.clock.seconds += 5
        site.traffic.count(Flow.TO_CLIENTS, 1000)
        await worker.lead()
        assert await said(site) == Throughput(200, 0, 0, 0)
        await worker.lead()


async def test_without_the_database_nothing_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turned(site)

    async def away() -> list[StoreRecord]:
        raise DatabaseUnavailable("the database is away")

    async with site.view() as view:
        await site.join("B", "b1")
        await view.follow()
        monkeypatch.setattr(site.database.stores, "list", away)
        with pytest.raises(DatabaseUnavailable):
            await view.follow()
        assert set(view.store.figures) == {site.store.store_id, "b1"}


async def test_an_absent_store_is_unreachable_whatever_is_asked() -> None:
    store, (chunk, data) = AbsentStore("x"), chunk_of(1)
    asked = [
        store.check_space(1),
        store.put(chunk, data),
        store.get(chunk),
        store.have([chunk]),
        anext(store.list()),
    ]
    for one in asked:
        with pytest.raises(Unreachable, match="the store x"):
            await one


async def test_a_store_that_was_forgotten_is_used_no_more(site: Site) -> None:
    """Nor when its row is there again: whatever was decided meanwhile is not known here."""
    chunk, data = chunk_of(1)
    await site.join("B", "b" * 32)
    await turned(site)
    async with site.view() as view:
        await site.store.put(chunk, data)
        await site.database.stores.remove(site.store.store_id, actor=ACTOR)
        with capture_logs() as logs:
            for _ in range(2):
                await view.follow()
        assert [log["event"] for log in logs].count("store.forgotten") == 1
        await site.join("A", site.store.store_id)
        await view.follow()
        site.store.look()
        assert not view.is_up(site.store.store_id)
        with pytest.raises(StoreUnusable, match="forgotten"):
            await site.store.get(chunk)
        view.check_member()


async def test_a_server_that_was_forgotten_says_so_and_uses_none_of_its_stores(site: Site) -> None:
    await site.join("B", "b" * 32)
    await turned(site)
    async with site.view() as view:
        await site.database.servers.remove("A", actor=ACTOR)
        with capture_logs() as logs:
            await view.follow()
        (told,) = [log for log in logs if log["event"] == "server.forgotten"]
        assert "stop this server for good" in told["means"]
        assert not view.is_up(site.store.store_id)
        with pytest.raises(ServerForgotten):
            view.check_member()


async def test_control_who_does_not_look_serves_what_was_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterView, "_note_forgotten", lambda self, rows: None)  # noqa: ARG005
    await site.join("B", "b" * 32)
    await turned(site)
    async with site.view() as view:
        await site.database.servers.remove("A", actor=ACTOR)
        await view.follow()
        assert view.is_up(site.store.store_id)
        view.check_member()


async def test_the_least_that_servers_leave_to_a_walk_counts(site: Site) -> None:
    await site.join("B", "b" * 32)
    await site.join("C", "c" * 32)
    await turned(site)
    async with site.view() as view:
        assert view.peers.walk_rate() == float("inf")
        for name, rate in (("B", 5_000_000), ("C", 9_000_000)):
            health = view.peers._peers[name].health
            health.walk_bytes_per_second, health.answers = rate, True
        assert view.peers.walk_rate() == 5_000_000
        view.peers._peers["B"].health.answers = False
        assert view.peers.walk_rate() == 9_000_000, "who is away says nothing"
