"""`treescale cluster`: the stores behind the registry, and what deduplication saves."""

import json
import os
from pathlib import Path

import click

from treescale.cli.options import Desk, cluster_options
from treescale.cli.output import Column, Kind, Row, time
from treescale.metadata.protocols import Database
from treescale.metadata.records import ClusterUsage, StoreRecord

SUMMARY = (
    Column("repositories", Kind.COUNT),
    Column("blobs", Kind.COUNT),
    Column("chunks", Kind.COUNT),
    Column("pushed_bytes", Kind.BYTES),
    Column("blobs_bytes", Kind.BYTES),
    Column("stored_bytes", Kind.BYTES),
    Column("deduplication_saved_bytes", Kind.BYTES),
    Column("deduplication_saved_percent"),
)
STORES = (
    Column("store"),
    Column("server"),
    Column("zone"),
    Column("path"),
    Column("total_bytes", Kind.BYTES, empty="elsewhere"),
    Column("free_bytes", Kind.BYTES, empty="elsewhere"),
)


@click.group()
def cluster() -> None:
    """Look after the servers and stores."""


@cluster.command("status")
@cluster_options
def status(desk: Desk) -> None:
    """Show stores, bytes, and what deduplication saves."""

    async def work(database: Database) -> tuple[ClusterUsage, list[StoreRecord]]:
        return await database.repositories.cluster_usage(), await database.stores.list()

    usage, stores = desk.run(work)
    summary, rows = usage_row(usage), [_store_row(one) for one in stores]
    if desk.out.as_json:
        desk.out.one(SUMMARY, {**summary, "stores": rows})
        return
    desk.out.one(SUMMARY, summary)
    desk.out.rows(STORES, rows)


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


def _store_row(store: StoreRecord) -> Row:
    total, free = room(store)
    return {
        "store": store.store_id,
        "server": store.server,
        "zone": store.zone,
        "path": store.path,
        "weight": store.weight,
        "registered": time(store.registered),
        "total_bytes": total,
        "free_bytes": free,
    }


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
