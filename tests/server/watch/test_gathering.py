"""The page of a server: it never fails and never waits for long, whatever is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.stopping import NAMES, Servers
from tests.fakes_database import Away
from tests.templates import empty_database
from tests.virtualtime import LoopClock, virtual
from treescale.clock import SystemClock
from treescale.cluster.readiness import Check, Finding, Reason
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import FULL, StoreReport
from treescale.metadata.schema import users
from treescale.metrics.meters import Meters, Refusal, Route
from treescale.metrics.traffic import Flow, TrafficCounters
from treescale.server.watch.gathering import (
    PAGE_SECONDS,
    ROWS_SECONDS,
    ROWS_SECONDS_MAX,
    MetricsPage,
    Rows,
    Sights,
)


@dataclass
class Server:
    """What a server is as a test has it."""

    meters: Meters = field(default_factory=Meters)
    traffic: TrafficCounters = field(default_factory=TrafficCounters)
    reports: Sequence[StoreReport] = ()
    unwritable: str = ""
    certificate_ends: float | None = None
    looked: int = 0

    def sights(self) -> Sights:
        return Sights(
            "me",
            self.meters,
            self.traffic,
            checks=lambda: [Finding(Check.STORE, Reason.WELL), Finding(Check.CLOCK, Reason.CLOCK)],
            peers=lambda: {"other": True, "gone": False},
            stores=self.look,
            writable=lambda store: store != self.unwritable,
            certificate_ends=lambda: self.certificate_ends,
        )

    async def look(self) -> Sequence[StoreReport]:
        self.looked += 1
        return self.reports


class Silent:
    """A database that takes every question and answers none."""

    def __init__(self) -> None:
        self.asked = 0

    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self._hang()

    async def _hang(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()


def told(page: bytes) -> dict[str, float]:
    """Return the values by name and labels."""
    lines = page.decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if not line.startswith("#")
    }


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    yield database
    await database.close()


async def test_the_page_has_counts_the_server_and_the_cluster(database: Database) -> None:
    servers = Servers(database)
    await servers.start(*NAMES)
    await servers.beat()
    own, other = (store.store_id for store in (await database.stores.list())[:2])
    server = Server(
        reports=[StoreReport(own, 1000, 400), StoreReport("full", 50, 1, f"{FULL}of it")],
        certificate_ends=1_800_000_000.0,
        unwritable="",
    )
    server.meters.request(Route.BLOB, "GET", 200, 0.01)
    server.traffic.count(Flow.TO_CLIENTS, 77)
    found = told(await MetricsPage(server.sights(), Rows(database, SystemClock()), SystemClock())())
    assert found['treescale_http_requests_total{route="blob",method="GET",status="200"}'] == 1
    assert found['treescale_traffic_bytes_total{flow="to_clients"}'] == 77
    assert found['treescale_check_ok{check="store"}'] == 1
    assert found['treescale_check_ok{check="clock"}'] == 0
    assert found['treescale_peer_up{peer="other"}'] == 1
    assert found['treescale_peer_up{peer="gone"}'] == 0
    assert found["treescale_certificate_expiry_timestamp_seconds"] == 1_800_000_000
    assert found[f'treescale_store_free_bytes{{store="{own}"}}'] == 400
    assert found['treescale_store_readable{store="full"}'] == 1
    assert found['treescale_store_writable{store="full"}'] == 0
    assert found["treescale_cluster_figures_known"] == 1
    assert found['treescale_cluster_servers{condition="up"}'] == len(NAMES)
    assert found["treescale_cluster_lost_chunks"] == 0
    assert found["treescale_cluster_events_sequence"] == await database.event_log.last() > 0
    assert found['treescale_cluster_hooks{state="enabled"}'] == 0
    assert found["treescale_cluster_hook_deliveries_oldest_seconds"] == 0
    assert found['treescale_cluster_quotas{level="reached"}'] == 0
    assert found["treescale_cluster_event_groups"] == 0
    assert found["treescale_cluster_event_groups_lag_events"] == 0
    assert "treescale_cluster_nats_lag_events" not in found, "nothing goes there"
    sights = replace(server.sights(), nats=True)
    there = told(await MetricsPage(sights, Rows(database, SystemClock()), SystemClock())())
    newest = found["treescale_cluster_events_sequence"]
    who = {"name": "alice", "password_hash": "", "admin": False, "created": 0.0}
    await database.connections.change(users.insert(), who)
    for name, position in (("a", newest), ("b", newest - 2), ("c", newest + 5)):
        await database.event_groups.ensure("alice", name, position=int(position))
    there = told(await MetricsPage(sights, Rows(database, SystemClock()), SystemClock())())
    assert there["treescale_cluster_event_groups"] == 3
    assert there["treescale_cluster_event_groups_lag_events"] == 2, "of the last one"
    assert there["treescale_cluster_nats_lag_events"] == newest
    assert f'treescale_store_in_layout{{store="{own}"}}' in found
    assert not [name for name in found if other in name], "each tells of its own"


async def test_a_disk_that_does_not_answer_has_no_size(database: Database) -> None:
    server = Server(reports=[StoreReport("hangs", None, None, "the disk does not answer reads")])
    found = told(await MetricsPage(server.sights(), Rows(database, SystemClock()), SystemClock())())
    assert found['treescale_store_readable{store="hangs"}'] == 0
    assert 'treescale_store_free_bytes{store="hangs"}' not in found


async def test_a_database_that_is_away_is_said_to_be_and_all_else_is_told(
    database: Database,
) -> None:
    Away(database).begin()
    found = told(
        await MetricsPage(Server().sights(), Rows(database, SystemClock()), SystemClock())()
    )
    assert found["treescale_cluster_figures_known"] == 0
    assert [name for name in found if name.startswith("treescale_cluster_")] == [
        "treescale_cluster_figures_known"
    ]
    assert found['treescale_check_ok{check="store"}'] == 1


def silent_page() -> tuple[MetricsPage, Silent, Server]:
    silent: Any = Silent()
    server, clock = Server(), LoopClock()
    return MetricsPage(server.sights(), Rows(silent, clock), clock), silent, server


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_one_that_hangs_is_waited_for_a_little_and_then_left_alone_for_a_while() -> None:
    page, silent, _ = silent_page()
    began = now()
    assert told(await page())["treescale_cluster_figures_known"] == 0
    assert ROWS_SECONDS_MAX <= now() - began < ROWS_SECONDS_MAX + 0.1
    await asyncio.sleep(PAGE_SECONDS)
    began = now()
    assert told(await page())["treescale_cluster_figures_known"] == 0
    assert now() - began < 0.1
    assert silent.asked == 1
    await asyncio.sleep(ROWS_SECONDS)
    await page()
    assert silent.asked == 2


@virtual
async def test_however_many_ask_at_once_it_is_made_once() -> None:
    page, silent, server = silent_page()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(page()) for _ in range(50)]
    assert len({each.result() for each in asked}) == 1
    assert (silent.asked, server.looked) == (1, 1)


@virtual
async def test_whoever_asks_gets_numbers_of_the_last_second() -> None:
    page, _, server = silent_page()
    name = 'treescale_authentication_failures_total{reason="token"}'
    assert told(await page())[name] == 0
    server.meters.refused(Refusal.TOKEN)
    await asyncio.sleep(PAGE_SECONDS / 2)
    assert told(await page())[name] == 0
    await asyncio.sleep(PAGE_SECONDS / 2)
    assert told(await page())[name] == 1


@virtual
async def test_one_who_leaves_does_not_keep_the_next_from_it() -> None:
    page, _, _ = silent_page()
    async with asyncio.TaskGroup() as group:
        leaves = group.create_task(page())
        await asyncio.sleep(0.1)
        leaves.cancel()
    assert told(await page())["treescale_cluster_figures_known"] == 0
