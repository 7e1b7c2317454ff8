"""The rows of `treescale cluster status`: the cluster as people, pipes and scripts see it."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from treescale.cluster.advice import CLOCK_SECONDS_MAX, Advice, certificate_is_near
from treescale.cluster.placement_report import NOTHING_UNCOUNTED, Uncounted
from treescale.cluster.status import ClusterStatus, Condition, ServerView, StoreView, redundancy
from treescale.maintenance.collection.state import State, unpacked
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.portable.last_backup import LastBackup
from treescale.metadata.records import (
    ClusterUsage,
    LostBlob,
    LostData,
    StoreRecord,
    StoreState,
    StoreWalk,
    Throughput,
)

SUMMARY: Final = (
    Column("layout", empty="none yet"),
    Column("layout_created", Kind.TIME, empty="-"),
    Column("copies", empty="-"),
    Column("copies_asked", empty="as many as servers, at most 3"),
    Column("copies_owed", Kind.COUNT, empty="unknown"),
    Column("copies_owed_noted", Kind.COUNT),
    Column("copies_owed_since", Kind.TIME, empty="-"),
    Column("partitions_uncounted", Kind.COUNT),
    Column("next_stop"),
    Column("to_clients_bytes_per_second", Kind.RATE),
    Column("from_clients_bytes_per_second", Kind.RATE),
    Column("lost_chunks", Kind.COUNT),
    Column("lost_blobs", Kind.COUNT),
    Column("lost_since", Kind.TIME, empty="-"),
    Column("repositories", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("chunks", Kind.COUNT),
    Column("pushed_bytes", Kind.BYTES),
    Column("blobs_bytes", Kind.BYTES),
    Column("stored_bytes", Kind.BYTES),
    Column("unreferenced_bytes", Kind.BYTES),
    Column("deduplication_saved_bytes", Kind.BYTES),
    Column("deduplication_saved_percent"),
    Column("collecting"),
    Column("collecting_lifted_by", empty="-"),
    Column("read_only", Kind.FLAG),
    Column("backup_taken", Kind.TIME, empty="never"),
    Column("backup_bytes", Kind.BYTES, empty="-"),
    Column("backup_by", empty="-"),
)
SERVERS: Final = (
    Column("server"),
    Column("address"),
    Column("zone"),
    Column("state"),
    Column("last_heard", Kind.TIME, empty="never"),
    Column("stores", Kind.COUNT),
    Column("to_clients_bytes_per_second", Kind.RATE),
    Column("from_clients_bytes_per_second", Kind.RATE),
    Column("to_servers_bytes_per_second", Kind.RATE),
    Column("from_servers_bytes_per_second", Kind.RATE),
    Column("server_id", Kind.ID),
    Column("version", empty="unknown"),
    Column("clock_error_seconds", empty="unknown"),
    Column("certificate_expires", Kind.TIME, empty="-"),
)
SERVERS_AT_A_GLANCE: Final = (
    Column("server"),
    Column("address"),
    Column("zone"),
    Column("state"),
    Column("last_heard", Kind.TIME, empty="never"),
    Column("stores", Kind.COUNT),
    Column("sent", Kind.RATE, empty="unknown"),
    Column("received", Kind.RATE, empty="unknown"),
)
"""What fits into a terminal: to and from clients and servers together."""
VERSION: Final = Column("version", empty="unknown")
"""For a terminal, when not all servers have the same."""
CLOCK: Final = Column("clock_error_seconds", empty="unknown")
"""For a terminal, when a clock is off."""
CERTIFICATE: Final = Column("certificate_expires", Kind.TIME, empty="-")
"""For a terminal, when one ends soon."""
STORES: Final = (
    Column("store", Kind.ID),
    Column("server"),
    Column("zone"),
    Column("path"),
    Column("state"),
    Column("condition"),
    Column("in_layout", Kind.FLAG),
    Column("fill", Kind.SHARE, empty="unknown"),
    Column("total_bytes", Kind.BYTES, empty="unknown"),
    Column("free_bytes", Kind.BYTES, empty="unknown"),
    Column("copies_owed", Kind.COUNT, empty="unknown"),
    Column("copies_owed_noted", Kind.COUNT),
    Column("missing", Kind.COUNT, empty="unknown"),
    Column("misplaced", Kind.COUNT, empty="unknown"),
    Column("partitions_unlooked", Kind.COUNT, empty="unknown"),
    Column("moved_bytes_per_second", Kind.RATE, empty="unknown"),
    Column("verified", Kind.TIME, empty="never"),
)
STORES_AT_A_GLANCE: Final = (
    Column("store", Kind.ID),
    Column("server"),
    Column("path"),
    Column("standing"),
    Column("in_layout", Kind.FLAG),
    Column("fill", Kind.SHARE, empty="unknown"),
    Column("free_bytes", Kind.BYTES, empty="unknown"),
    Column("copies_owed", Kind.COUNT, empty="unknown"),
)
"""What fits into a terminal. Zones are in the table of servers."""
COLLECTION: Final = (
    Column("store", Kind.ID),
    Column("server"),
    Column("waiting", Kind.COUNT),
    Column("waiting_bytes", Kind.BYTES),
    Column("free_at_the_latest", Kind.TIME, empty="-"),
    Column("trash", Kind.COUNT),
    Column("trash_bytes", Kind.BYTES),
    Column("trash_free_at", Kind.TIME, empty="-"),
    Column("paused", empty="no"),
    Column("lifted_by", empty="-"),
)
"""What no row names: on the stores where there is any, or where nothing is taken away."""
LOST: Final = (
    Column("repository"),
    Column("tags", empty="none"),
    Column("blob"),
    Column("size", Kind.BYTES),
    Column("lost_chunks", Kind.COUNT),
    Column("since", Kind.TIME),
)
LOST_BLOBS_LISTED_MAX: Final = 100
ADVICE: Final = (Column("about"), Column("text"))


Room = Callable[[StoreRecord], tuple[int | None, int | None]]
"""Says of a store's disk how large it is, and how much is free, if that can be seen from here."""


def no_room(_: StoreRecord) -> tuple[None, None]:
    """Look at no disk: it may hang."""
    return None, None


def summary_row(
    seen: ClusterStatus,
    usage: ClusterUsage,
    lost: LostData,
    uncounted: Uncounted = NOTHING_UNCOUNTED,
    taken: str = "",
) -> Row:
    """Return the cluster in one row. How many copies are owed is a number only if all are known.

    `taken` says who has the permission to stop, if anybody has.
    """
    answer = redundancy(seen)
    passing = [server.throughput for server in seen.servers if server.throughput is not None]
    return {
        "layout": None if seen.layout is None else seen.layout.number,
        "layout_created": time(seen.layout_created),
        "copies": None if seen.layout is None else seen.layout.copies,
        "copies_asked": seen.copies_asked,
        "copies_owed": None if uncounted.partitions else seen.owed,
        "copies_owed_noted": seen.owed,
        "copies_owed_since": time(seen.owed_since),
        "partitions_uncounted": uncounted.partitions,
        "next_stop": (answer.may_stop and taken) or answer.text,
        "may_stop": answer.may_stop and not taken,
        "to_clients_bytes_per_second": sum(each.to_clients for each in passing),
        "from_clients_bytes_per_second": sum(each.from_clients for each in passing),
        "lost_chunks": lost.chunks,
        "lost_blobs": lost.blobs,
        "lost_since": time(lost.since),
        **usage_row(usage),
    }


def usage_row(usage: ClusterUsage) -> Row:
    """Return what the cluster holds.

    Saved is what repositories have and did not have to be stored; what they have no more, and is
    stored still, is no part of it.
    """
    saved = max(0, usage.bytes_pushed - (usage.bytes_stored - usage.bytes_unreferenced))
    percent = 100 * saved / usage.bytes_pushed if usage.bytes_pushed else 0.0
    return {
        "repositories": usage.repositories,
        "blobs": usage.blobs,
        "chunks": usage.chunks,
        "pushed_bytes": usage.bytes_pushed,
        "blobs_bytes": usage.bytes_blobs,
        "stored_bytes": usage.bytes_stored,
        "unreferenced_bytes": usage.bytes_unreferenced,
        "deduplication_saved_bytes": saved,
        "deduplication_saved_percent": round(percent, 1),
    }


def backup_row(last: LastBackup | None) -> Row:
    """Return what is known of the last backup that was read back."""
    return {
        "backup_taken": None if last is None else time(last.taken),
        "backup_bytes": None if last is None else last.bytes,
        "backup_by": None if last is None else last.actor,
        "backup_file": None if last is None else last.file,
    }


def server_row(server: ServerView) -> Row:
    """Return a server."""
    return {
        "server": server.name,
        "address": server.address or None,
        "zone": server.zone,
        "state": server.condition.value,
        "last_heard": time(server.heard),
        "started": time(server.started),
        "stores": server.stores,
        "version": server.version or None,
        "clock_error_seconds": None if server.clock_error is None else round(server.clock_error, 1),
        "certificate_expires": time(server.certificate_expires),
        "unreached_by": [one._asdict() for one in server.unreached_by] or None,
        **throughput_row(server.throughput),
        "server_id": server.server_id or None,
    }


def throughput_row(seen: Throughput | None) -> Row:
    """Return what passes through a server."""
    names = [field.name for field in fields(Throughput)]
    return {f"{name}_bytes_per_second": getattr(seen, name, None) for name in names}


def columns_at_a_glance(servers: Sequence[Row], seen: ClusterStatus) -> tuple[Column, ...]:
    """Return what a terminal shows of servers: also what differs, is off, or ends soon."""
    differ = len({server["version"] for server in servers}) > 1
    errors = [server["clock_error_seconds"] for server in servers]
    off = any(isinstance(one, float) and abs(one) >= CLOCK_SECONDS_MAX for one in errors)
    near = any(certificate_is_near(one, seen.now) for one in seen.servers)
    return (*SERVERS_AT_A_GLANCE, *[VERSION] * differ, *[CLOCK] * off, *[CERTIFICATE] * near)


def server_at_a_glance(row: Row, seen: Throughput | None) -> Row:
    """Return a server's row with what passes through it in two numbers."""
    if seen is None:
        return row
    return {
        **row,
        "sent": seen.to_clients + seen.to_servers,
        "received": seen.from_clients + seen.from_servers,
    }


def store_row(
    store: StoreView, uncounted: Uncounted = NOTHING_UNCOUNTED, look: Room = no_room
) -> Row:
    """Return a store. What its server has not said of the disk `look` may find."""
    record = store.record
    total, free = record.bytes_total, record.bytes_free
    if total is None or free is None:
        total, free = look(record)
    fill = None if not total or free is None else round((total - free) / total, 4)
    return {
        "store": record.store_id,
        "server": record.server,
        "server_id": record.server_id or None,
        "zone": record.zone,
        "path": record.path,
        "state": record.state.value,
        "condition": store.condition.value,
        "trouble": record.trouble or None,
        "in_layout": store.in_layout,
        "weight": record.weight,
        "registered": time(record.registered),
        "last_heard": time(record.seen or None),
        "fill": fill,
        "total_bytes": total,
        "free_bytes": free,
        "copies_owed": None if uncounted.partitions_of(record.store_id) else store.owed,
        "copies_owed_noted": store.owed,
        "partitions_uncounted": uncounted.partitions_of(record.store_id),
        "copies_owed_since": time(store.owed_since),
        **walk_row(store.walk),
    }


def walk_row(walk: StoreWalk | None) -> Row:
    """Return where the walk of a store stands."""
    if walk is None:
        return dict.fromkeys(
            ("missing", "misplaced", "partitions_unlooked", "moved_bytes_per_second", "verified")
        )
    return {
        "missing": walk.missing,
        "misplaced": walk.misplaced,
        "partitions_unlooked": walk.pending,
        "moved_bytes_per_second": walk.rate,
        "verified": time(walk.verified or None),
    }


def collection_rows(seen: ClusterStatus, states: Mapping[str, str]) -> list[Row]:
    """Return where collection stands on each store that has told something of it."""
    return [
        _collection_row(store, unpacked(states[store.record.store_id]))
        for store in seen.stores
        if store.record.store_id in states
    ]


def _collection_row(store: StoreView, state: State) -> Row:
    return {
        "store": store.record.store_id,
        "server": store.record.server,
        "waiting": state.waiting,
        "waiting_bytes": state.waiting_bytes,
        "free_at_the_latest": time(state.waiting_until or None),
        "trash": state.trash,
        "trash_bytes": state.trash_bytes,
        "trash_free_at": time(state.trash_until or None),
        "removed": state.removed,
        "removed_bytes": state.removed_bytes,
        "met_in_trash": state.met_in_trash,
        "paused": state.paused.why if state.paused else None,
        "lifted_by": state.paused.lifted_by if state.paused else None,
    }


def is_collecting(row: Row) -> bool:
    """Say whether there is anything that people should see of it."""
    return bool(row["waiting"] or row["trash"] or row["paused"] or row["met_in_trash"])


def at_a_glance(row: Row) -> Row:
    """Return a store's row with its state and condition in few words."""
    words = [str(row["state"]), str(row["condition"])]
    if row["condition"] == Condition.UP.value:
        words.pop()
    elif row["state"] == StoreState.ACTIVE.value:
        words.pop(0)
    words += [f"{row[what]:,} {what}" for what in ("missing", "misplaced") if row[what]]
    return {**row, "standing": ", ".join(words)}


def lost_row(blob: LostBlob) -> Row:
    """Return a blob of which bytes are lost; scripts see which chunks, up to a hundred."""
    return {
        "repository": blob.repository,
        "tags": list(blob.tags) or None,
        "blob": blob.digest,
        "size": blob.size,
        "lost_chunks": blob.chunk_count,
        "since": time(blob.since),
        "chunks": [chunk.hex() for chunk in blob.chunks],
    }


def advice_row(advice: Advice) -> Row:
    """Return a piece of advice."""
    return {"about": advice.about, "text": advice.text}


def room(store: StoreRecord) -> tuple[int | None, int | None]:
    """Return the size and the free bytes of the store's disk when it is on this machine.

    Its `store.json` must name it: the same path on another machine is another disk.
    """
    try:
        label = json.loads((Path(store.path) / "store.json").read_bytes())
        found = os.statvfs(store.path)
    except (OSError, ValueError):
        return None, None
    if not isinstance(label, dict) or label.get("store") != store.store_id:
        return None, None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
