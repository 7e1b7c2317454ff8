"""A worker follows the cluster's rows: who is there, which layout is in force, who says so."""

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from tests.contracts.chunk_store import chunk_of
from tests.fakes_disk import JumpingClock
from treescale.chunks.absent import AbsentStore
from treescale.chunks.directory import Reserve
from treescale.chunks.disk import DiskStore
from treescale.errors import DatabaseAway, NotEnoughStores, Unreachable
from treescale.metadata.migrations import migrate
from treescale.metadata.protocols import Database
from treescale.metadata.records import ServerRecord, StoreRecord, StoreState, Throughput
from treescale.metadata.sql.database import open_database
from treescale.neighbours import Here, Lead, Neighbours, encrypting
from treescale.traffic import Flow, Traffic
from treescale.upkeep.membership import Membership, join

NO_RESERVE = Reserve(fraction=0.0, bytes_min=0, inodes_min=0)


class Away(Lead):
    """Another worker has the lead."""

    away = True

    def taken(self) -> bool:
        return not self.away


@dataclass
class Site:
    """A server with one disk, and the database it shares with others."""

    database: Database
    store: DiskStore
    threads: ThreadPoolExecutor
    clock: JumpingClock
    traffic: Traffic = field(default_factory=Traffic)

    async def join(self, name: str, *stores: str) -> None:
        """Have a server join the cluster."""
        server = ServerRecord(name, f"host-{name}", f"http://127.0.0.1:1/{name}", "", started=0.0)
        disks = [
            StoreRecord(store, server.name, f"/{store}", "", 1.0, 0.0, server_id=name)
            for store in stores
        ]
        await join(self.database, server, disks, alone=True)

    @asynccontextmanager
    async def neighbours(self, lead: Lead | None = None) -> AsyncIterator[Neighbours]:
        """Yield what server A knows, within."""
        here = Here("A", {self.store.store_id: self.store})
        async with Neighbours(
            here,
            self.database,
            Membership(self.database, "A", self.clock),
            lead or Lead(),
            self.traffic,
            threads=self.threads,
            clock=self.clock,
        ) as neighbours:
            yield neighbours


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
async def site(tmp_path: Path, threads: ThreadPoolExecutor) -> AsyncIterator[Site]:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    await migrate(url)
    database = open_database(url)
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
    await Membership(site.database, "A", site.clock).turn([])


async def test_a_worker_knows_no_store_before_there_is_a_layout(site: Site) -> None:
    with pytest.raises(NotEnoughStores):
        async with site.neighbours():
            pytest.fail("there is no layout")


async def test_a_server_alone_keeps_its_chunks_here(site: Site) -> None:
    await turned(site)
    async with site.neighbours() as neighbours:
        chunk, data = chunk_of(1)
        assert (await neighbours.store.place(chunk, data)).stores == (site.store.store_id,)
        assert await site.store.get(chunk) == data
        assert neighbours.is_local(site.store.store_id)
        assert neighbours.is_up(site.store.store_id)
        await neighbours.follow()


async def test_servers_that_come_and_go_are_followed(site: Site) -> None:
    await turned(site)
    async with site.neighbours() as neighbours:
        await site.join("B", "b1", "b2")
        with capture_logs() as logs:
            await neighbours.follow()
        met = [line["peer"] for line in logs if line["event"] == "neighbour.met"]
        changed = [line["copies"] for line in logs if line["event"] == "layout.changed"]
        assert (met, changed) == (["B"], [2])
        assert set(neighbours.store.figures) == {site.store.store_id, "b1", "b2"}
        assert not neighbours.is_local("b1")
        await site.database.servers.remove("B")
        with capture_logs() as logs:
            await neighbours.follow()
        assert "neighbour.gone" in [line["event"] for line in logs]
        assert set(neighbours.store.figures) == {site.store.store_id}


async def test_who_does_not_answer_a_question_is_left_out(site: Site) -> None:
    await turned(site)
    async with site.neighbours() as neighbours:
        await site.join("B", "b1")
        await neighbours.follow()
        assert await neighbours.ask(b"a question") == []


async def test_each_layout_is_told_once_when_it_is_followed(site: Site) -> None:
    def followed(logs: list[EventDict]) -> list[tuple[int, int, int]]:
        lines = [line for line in logs if line["event"] == "layout.followed"]
        assert all(line["pid"] == os.getpid() for line in lines)
        return [(line["number"], line["stores"], line["copies"]) for line in lines]

    await turned(site)
    with capture_logs() as logs:
        async with site.neighbours() as leading, site.neighbours(Away()) as other:
            assert followed(logs) == [], "one server has nobody to agree with"
            await site.join("B", "b1")
            await leading.follow()
            assert followed(logs) == [(2, 2, 2)]
            await other.follow()
            assert followed(logs)[1:] == [(2, 2, 2)]
            await site.database.stores.set_state("b1", StoreState.DRAINING)
            await other.follow()  # a row has changed, the layout has not
            await other.follow()
        async with site.neighbours(Away()):
            assert followed(logs)[2:] == [(2, 2, 2)]
    assert len(followed(logs)) == 3


async def test_a_server_that_moved_is_asked_at_its_new_address(site: Site) -> None:
    await turned(site)
    async with site.neighbours() as neighbours:
        await site.join("B", "b1")
        await neighbours.follow()
        await site.database.servers.depart("B")
        moved = ServerRecord("B", "host-B", "http://127.0.0.1:2", "", started=1.0)
        assert await site.database.servers.register(moved, live_seconds=15)
        with capture_logs() as logs:
            await neighbours.follow()
        urls = [line["url"] for line in logs if line["event"] == "neighbour.met"]
        assert urls == ["http://127.0.0.1:2"]


async def test_a_layout_may_name_a_store_that_nobody_has(site: Site) -> None:
    await turned(site)
    await site.join("B", "b1")
    await turned(site)
    await site.database.stores.remove("b1")
    async with site.neighbours(Away()) as neighbours:
        chunk, data = chunk_of(1)
        await site.store.put(chunk, data)
        assert await neighbours.store.get(chunk) == data
        with pytest.raises(NotEnoughStores, match="no server of the cluster has the store b1"):
            await neighbours.store.put(*chunk_of(2))


async def test_only_the_leading_worker_moves_the_layout_on(site: Site) -> None:
    await turned(site)
    async with site.neighbours(Away()) as neighbours:
        await site.join("B", "b1")
        await neighbours.follow()
        latest = await site.database.layouts.latest()
        assert latest is not None
        assert latest.number == 1


async def said(site: Site) -> Throughput | None:
    """Return what server A last said of its throughput."""
    return next(each.throughput for each in await site.database.servers.list())


async def test_whoever_leads_says_what_passes_through_all_workers(site: Site) -> None:
    await turned(site)
    led = Away()
    async with site.neighbours() as leading, site.neighbours(led) as other:
        await leading.follow()
        await other.follow()
        assert await said(site) is None
        site.clock.seconds += 5
        site.traffic.count(Flow.TO_CLIENTS, 5_000_000)
        site.traffic.count(Flow.FROM_SERVERS, 500)
        await other.follow()
        assert await said(site) is None, "it does not lead"
        await leading.follow()
        assert await said(site) == Throughput(1_000_000, 0, 0, 100)
        led.away = False
        site.clock.seconds += 5
        await other.follow()
        assert await said(site) == Throughput(500_000, 0, 0, 50), "it knew the seconds before"


async def test_throughput_alone_is_no_reason_to_lay_out_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turned(site)
    async with site.neighbours() as neighbours:
        await neighbours.follow()
        monkeypatch.setattr(neighbours.store, "relayout", lambda *_: pytest.fail("nothing changed"))
        site.clock.seconds += 5
        site.traffic.count(Flow.TO_CLIENTS, 1000)
        await neighbours.follow()
        assert await said(site) == Throughput(200, 0, 0, 0)
        await neighbours.follow()


async def test_without_the_database_nothing_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turned(site)

    async def away() -> list[StoreRecord]:
        raise DatabaseAway("the database is away")

    async with site.neighbours() as neighbours:
        await site.join("B", "b1")
        await neighbours.follow()
        monkeypatch.setattr(site.database.stores, "list", away)
        with pytest.raises(DatabaseAway):
            await neighbours.follow()
        assert set(neighbours.store.figures) == {site.store.store_id, "b1"}


async def test_an_absent_store_is_unreachable_whatever_is_asked() -> None:
    store, (chunk, data) = AbsentStore("x"), chunk_of(1)
    asked = [
        store.reserve(1),
        store.put(chunk, data),
        store.get(chunk),
        store.have([chunk]),
        store.delete(chunk),
        anext(store.list()),
    ]
    for one in asked:
        with pytest.raises(Unreachable, match="the store x"):
            await one


def test_the_lead_is_one_process_s_and_falls_to_another_when_that_ends() -> None:
    lead = Lead()
    told, tell = os.pipe()
    wait, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b"1" if lead.taken() and lead.taken() else b"0")
        os.read(wait, 1)
        os._exit(0)
    assert os.read(told, 1) == b"1"
    assert not lead.taken()
    os.write(release, b"x")
    os.waitpid(pid, 0)
    assert lead.taken()
    for fd in (told, tell, wait, release):
        os.close(fd)


def test_what_encrypts_between_servers_verifies_nobody_and_reads_no_authorities() -> None:
    """Reading them takes tens of milliseconds for each neighbour, in which nobody is served."""
    context = encrypting()
    assert context.verify_mode is ssl.CERT_NONE
    assert context.cert_store_stats()["x509"] == 0
