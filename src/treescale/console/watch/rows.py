"""What `/cluster/now` says, as programs read it and pages show it."""

from datetime import datetime
from typing import Any

import msgspec

from treescale.chunks.format.placement import PARTITIONS


class ServerNow(msgspec.Struct):
    """A server."""

    server_id: str
    name: str
    address: str
    zone: str
    state: str
    """`up`, `silent` or `stopped`: as its heartbeats say, and as it is reached from here."""
    last_heard: datetime | None
    version: str
    stores: int
    to_clients_bytes_per_second: int | None
    from_clients_bytes_per_second: int | None
    to_servers_bytes_per_second: int | None
    from_servers_bytes_per_second: int | None


class StoreNow(msgspec.Struct):
    """A store, its walk, and its collection."""

    store: str
    server: str
    """Its name, with its address where another has that name, too."""
    server_id: str
    zone: str
    path: str
    state: str
    """What it is told to be: `active`, `draining`."""
    condition: str
    """`up`, `silent`, `in trouble`, `full` or `stopped`."""
    trouble: str
    in_layout: bool
    homes: int
    """Of so many partitions it is a home."""
    fill: float | None
    total_bytes: int | None
    free_bytes: int | None
    pace: str
    """`repair`, `verify`, or "" before its walk began."""
    pending: int
    """Partitions that are still to be looked at."""
    missing: int
    misplaced: int
    moved_bytes_per_second: int
    seconds_left: float | None
    """Until the walk has nothing left to mend; None: nobody knows."""
    verified: datetime | None
    """Since when all its copies were read back."""
    waiting_bytes: int
    """In no image any more; freed as their leases end."""
    trash_bytes: int
    trash_until: datetime | None
    removed_bytes: int
    """What collection took away so far."""
    paused: str


class PartitionsNow(msgspec.Struct):
    """Of each partition, how many of its copies are on stores that can be read."""

    copies: int
    """So many there should be."""
    counts: list[int]
    """How many partitions have none, one, two … such copies."""
    runs: list[tuple[int, int]]
    """The partitions in order: so many copies, of so many partitions in a row."""
    total: int = PARTITIONS


class JobNow(msgspec.Struct):
    """Work that was asked of stores."""

    job: str
    kind: str
    actor: str
    begun: datetime | None
    is_open: bool
    stores: int
    stores_done: int
    done: int
    total: int
    """Partitions of all stores."""


class HappenedNow(msgspec.Struct):
    """An event of the cluster."""

    sequence: int
    at: datetime
    kind: str
    actor: str
    payload: dict[str, Any]


class LostNow(msgspec.Struct):
    """A blob of which bytes are lost."""

    repository: str
    tags: list[str]
    blob: str
    lost_chunks: int
    since: datetime


class ClusterNow(msgspec.Struct):
    """The cluster as it is now, as this server sees it."""

    seen_by: str
    """The server's name, "" when none looks."""
    is_whole: bool
    text: str
    """The same for people."""
    broken_since: datetime | None
    mended_at: datetime | None
    """When it was seen to be whole again; None while it is not, or when nobody looked on."""
    may_stop: bool
    next_stop: str
    read_only: bool
    collection_paused: str
    advice: list[str]
    servers: list[ServerNow]
    stores: list[StoreNow]
    partitions: PartitionsNow | None
    lost_chunks: int
    lost: list[LostNow]
    jobs: list[JobNow]
    events: list[HappenedNow]
