"""The rows of `treescale cluster status`: the cluster as people, pipes and scripts see it."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Final

from treescale.cli.output import Column, Kind, Row, time
from treescale.metadata.records import ClusterUsage, StoreRecord, StoreState, Throughput
from treescale.upkeep.advice import Advice
from treescale.upkeep.overview import Condition, Overview, ServerView, StoreView

SUMMARY: Final = (
    Column("layout", empty="none yet"),
    Column("layout_created", Kind.TIME, empty="-"),
    Column("copies", empty="-"),
    Column("copies_asked", empty="as many as servers, at most 3"),
    Column("copies_owed", Kind.COUNT),
    Column("copies_owed_since", Kind.TIME, empty="-"),
    Column("to_clients_bytes_per_second", Kind.RATE),
    Column("from_clients_bytes_per_second", Kind.RATE),
    Column("repositories", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("chunks", Kind.COUNT),
    Column("pushed_bytes", Kind.BYTES),
    Column("blobs_bytes", Kind.BYTES),
    Column("stored_bytes", Kind.BYTES),
    Column("deduplication_saved_bytes", Kind.BYTES),
    Column("deduplication_saved_percent"),
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
    Column("copies_owed", Kind.COUNT),
)
STORES_AT_A_GLANCE: Final = (
    Column("store", Kind.ID),
    Column("server"),
    Column("path"),
    Column("standing"),
    Column("in_layout", Kind.FLAG),
    Column("fill", Kind.SHARE, empty="unknown"),
    Column("free_bytes", Kind.BYTES, empty="unknown"),
    Column("copies_owed", Kind.COUNT),
)
"""What fits into a terminal. Zones are in the table of servers."""
ADVICE: Final = (Column("about"), Column("text"))


def summary_row(seen: Overview, usage: ClusterUsage) -> Row:
    """Return the cluster in one row."""
    passing = [server.throughput for server in seen.servers if server.throughput is not None]
    return {
        "layout": None if seen.layout is None else seen.layout.number,
        "layout_created": time(seen.layout_created),
        "copies": None if seen.layout is None else seen.layout.copies,
        "copies_asked": seen.copies_asked,
        "copies_owed": seen.owed,
        "copies_owed_since": time(seen.owed_since),
        "to_clients_bytes_per_second": sum(each.to_clients for each in passing),
        "from_clients_bytes_per_second": sum(each.from_clients for each in passing),
        **usage_row(usage),
    }


def usage_row(usage: ClusterUsage) -> Row:
    """Return what the cluster holds; saved is what was pushed and did not have to be stored."""
    saved = usage.bytes_pushed - usage.bytes_stored
    percent = 100 * saved / usage.bytes_pushed if usage.bytes_pushed else 0.0
    return {
        "repositories": usage.repositories,
        "blobs": usage.blobs,
        "chunks": usage.chunks,
        "pushed_bytes": usage.bytes_pushed,
        "blobs_bytes": usage.bytes_blobs,
        "stored_bytes": usage.bytes_stored,
        "deduplication_saved_bytes": saved,
        "deduplication_saved_percent": round(percent, 1),
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
        **throughput_row(server.throughput),
        "server_id": server.server_id or None,
    }


def throughput_row(seen: Throughput | None) -> Row:
    """Return what passes through a server."""
    names = [field.name for field in fields(Throughput)]
    return {f"{name}_bytes_per_second": getattr(seen, name, None) for name in names}


def server_at_a_glance(row: Row, seen: Throughput | None) -> Row:
    """Return a server's row with what passes through it in two numbers."""
    if seen is None:
        return row
    return {
        **row,
        "sent": seen.to_clients + seen.to_servers,
        "received": seen.from_clients + seen.from_servers,
    }


def store_row(store: StoreView) -> Row:
    """Return a store. What its server has not said of the disk is looked up if that is here."""
    record = store.record
    total, free = record.bytes_total, record.bytes_free
    if total is None or free is None:
        total, free = room(record)
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
        "copies_owed": store.owed,
        "copies_owed_since": time(store.owed_since),
    }


def at_a_glance(row: Row) -> Row:
    """Return a store's row with its state and condition in few words."""
    words = [str(row["state"]), str(row["condition"])]
    if row["condition"] == Condition.UP.value:
        words.pop()
    elif row["state"] == StoreState.ACTIVE.value:
        words.pop(0)
    return {**row, "standing": ", ".join(words)}


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
