"""Whose disks these are, decided before a server serves with them. Pure.

A store's id is in its `store.json` and goes where the disk goes; which server has it, and at which
path, is in its row. The two are compared at each start. A disk that was moved is welcome. A path at
which another store was, that is nowhere now, is the mount point of a disk that is away. A store
that another server is using at this moment is a copied directory, or a disk shared by mistake: two
servers would delete under each other's hands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from treescale.cluster.liveness import LIVE_SECONDS, is_live
from treescale.cluster.snapshot import Snapshot
from treescale.errors import StoreUnusable
from treescale.metadata.records import ServerRecord, StoreRecord, is_full


@dataclass(frozen=True, slots=True)
class Claim:
    """A store that the server may register."""

    store_id: str
    holder: str
    """Whose it is until now, for `Stores.register`: of two that claim it at once one wins."""
    moved_from: StoreRecord | None
    """What its row said, when it was on another server or at another path; worth a log line."""


def check_ownership(
    server: ServerRecord, disks: Mapping[str, str], snapshot: Snapshot, *, alone: bool
) -> tuple[Claim, ...]:
    """Return what the server may claim of its disks (path by store id), all of them or none.

    `alone` says that no other machine can have written rows without a server's id (those of the
    first version): a container's name may be new each time. Raises StoreUnusable, with advice.
    """
    rows = {store.store_id: store for store in snapshot.stores}
    holders = {each.server_id: each for each in snapshot.servers}
    found = []
    for store_id, path in sorted(disks.items()):
        row = rows.get(store_id)
        if row is None:
            found.append(Claim(store_id, server.server_id, None))
            continue
        _check_free(server, row, holders.get(row.server_id), snapshot.now)
        same = row.path == path and _is_ours(server, row, holders, alone=alone)
        found.append(Claim(store_id, row.server_id, None if same else row))
    return tuple(found)


def displaced(
    server: ServerRecord, there: Mapping[str, str], snapshot: Snapshot, *, alone: bool
) -> dict[str, tuple[str, str]]:
    """Return the directories where another store was, that is nowhere now: its id, and advice.

    `there` are the stores in the server's directories, by directory; "" is an empty one. Such a
    directory is the mount point of a disk that is away, and must not be written to.
    """
    holders = {each.server_id: each for each in snapshot.servers}
    here = frozenset(there.values())
    return {
        row.path: (
            row.store_id,
            _gone(row),
        )
        for row in snapshot.stores
        if row.path in there
        and row.store_id not in here
        and _is_ours(server, row, holders, alone=alone)
    }


def _gone(row: StoreRecord) -> str:
    return (
        f"{row.path} held the store {row.store_id}, and that is gone: is its disk mounted? "
        f"If the disk is lost, say `treescale cluster forget {row.store_id}` and start again "
        "with an empty directory there."
    )


def _check_free(
    server: ServerRecord, row: StoreRecord, holder: ServerRecord | None, now: float
) -> None:
    """Raise StoreUnusable when another server has said of this store that it is well, just now."""
    if holder is None or holder.address == server.address:
        return
    # A full one is not said to be well, but it is where it was.
    seen = holder.seen if is_full(row.trouble) else row.seen
    if row.server_id != server.server_id and is_live(seen, now):
        raise StoreUnusable(
            f"the store {row.store_id} is in use on {holder.name} ({holder.address}, {row.path}): "
            "a store is on one server at a time. If its disk was moved here, start again "
            f"{LIVE_SECONDS:.0f} s after that server let go of it; if its directory was copied, "
            "give --data an empty one"
        )


def _is_ours(
    server: ServerRecord,
    row: StoreRecord,
    holders: Mapping[str, ServerRecord],
    *,
    alone: bool,
) -> bool:
    """Return whether the row was written by this server.

    Also under an earlier id: when the first disk is away, so is `server.json`, but not the address.
    """
    if not row.server_id:
        return alone or row.server == server.name
    holder = holders.get(row.server_id)
    same_address = holder is not None and holder.address == server.address
    return same_address or row.server_id == server.server_id
