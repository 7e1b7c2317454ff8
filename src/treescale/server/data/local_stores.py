"""The stores of this server: opened, described to the cluster, and asked how they are."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.disk.threads import Lanes
from treescale.clock import Clock
from treescale.config import Settings
from treescale.errors import Failed, StoreUnusable
from treescale.log import get_logger
from treescale.metadata.records import ServerRecord, StoreRecord, StoreReport
from treescale.server.data.directories import Place

OPEN_SECONDS_MAX: Final = 10.0
"""Who waits longer for a disk goes on without it: it is opened once it answers."""
REPORT_SECONDS_MAX: Final = 2.0
"""For a disk to say how full it is; the heartbeat waits for the slowest."""


@dataclass(frozen=True, slots=True)
class LocalStores:
    """A server as it is to itself: its id, and its own stores."""

    server_id: str
    stores: Mapping[str, DiskStore]

    async def reports(self) -> list[StoreReport]:
        """Return how the stores are, in a bounded time: one that hangs is in trouble."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_report(store)) for store in self.stores.values()]
        return [each.result() for each in asked]

    def is_well(self, store_id: str) -> bool:
        """Say whether a store of this server can be expected to answer; from memory."""
        return self.stores[store_id].is_well

    def is_writable(self, store_id: str) -> bool:
        """Say whether a store of this server can be expected to take writes; from memory."""
        return not self.stores[store_id].unwritable

    def unwritable(self) -> str:
        """Return why nothing can be written on this server, "" when something can; from memory.

        In words without paths or ids: a readiness check tells it to anybody. A server without
        stores writes on others'.
        """
        whys = [store.unwritable for store in self.stores.values()]
        return "" if "" in whys else ", ".join(sorted(set(whys)))


async def _report(store: DiskStore) -> StoreReport:
    """Return how a store is, and have all workers of this server know it."""
    try:
        async with asyncio.timeout(REPORT_SECONDS_MAX):
            usage = await store.usage()
    except (Failed, TimeoutError) as error:
        why = store.trouble or str(error) or f"{store.root}: the disk does not answer"
        return StoreReport(store.store_id, None, None, why)
    store.state.report(usage.trouble or "")
    return StoreReport(store.store_id, usage.bytes_total, usage.bytes_free, usage.trouble or "")


async def open_stores(
    places: Sequence[Place], clock: Clock, disks: Mapping[str, SharedDisk]
) -> Mapping[str, DiskStore]:
    """Return the stores by id, each with threads of its own; `disks` are by path.

    One whose disk does not answer in time, or is not there, is logged and opened later.
    """
    stores = {
        place.store_id: DiskStore.later(
            Path(place.path),
            place.store_id,
            place.why,
            threads=Lanes.among(len(places), f"disk{number}"),
            clock=clock,
            shared=disks[place.path],
        )
        for number, place in enumerate(places)
    }
    async with asyncio.TaskGroup() as group:
        for place in places:
            if not place.why:  # else it is looked for, and said to be back
                group.create_task(_open(stores[place.store_id]))
    return stores


async def _open(store: DiskStore) -> None:
    try:
        await store.open(OPEN_SECONDS_MAX)
    except StoreUnusable as error:
        get_logger().error("store.away", store=store.store_id, reason=str(error))


def store_records(
    settings: Settings, server: ServerRecord, places: Sequence[Place], clock: Clock
) -> Iterator[StoreRecord]:
    """Yield what the cluster is told of this server's stores."""
    for place in places:
        if place.why:
            continue  # what its row says stands
        yield StoreRecord(
            store_id=place.store_id,
            server=server.name,
            path=str(Path(place.path).absolute()),
            zone=settings.zone,
            weight=settings.weight,
            registered=clock.now(),
            server_id=server.server_id,
        )
