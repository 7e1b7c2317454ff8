"""What the processes of a server share: made before they are forked."""

import mmap
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from treescale.auth.counts import Counts
from treescale.auth.slots import Slots, slots_here
from treescale.chunks.disk.directory import RENEW_SECONDS
from treescale.chunks.disk.store import SharedDisk
from treescale.chunks.format.placement import Table
from treescale.config import Settings, unsafe_leases
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metrics.traffic import TrafficCounters
from treescale.server.data.directories import Place
from treescale.server.leader_lock import LeaderLock
from treescale.server.network.address import Listeners
from treescale.server.network.certificates import CertificateFiles
from treescale.server.readiness import Board
from treescale.server.start import Joined


class Once:
    """What one of a server's workers does for all: to be made before they are forked.

    Two that ask in the same instant may both be told yes.
    """

    def __init__(self) -> None:
        self._done = mmap.mmap(-1, 1)  # shared with forks

    def __call__(self) -> bool:
        """Return True to the first who asks."""
        first = self._done[0] == 0
        self._done[0] = 1
        return first


class Flag:
    """A yes that any process of a server may say and all see; to be made before they are forked."""

    def __init__(self) -> None:
        self._said = mmap.mmap(-1, 1)  # shared with forks

    def set(self) -> None:
        """Say yes."""
        self._said[0] = 1

    def is_set(self) -> bool:
        """Say whether anybody has."""
        return self._said[0] == 1


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workers of a server share."""

    settings: Settings
    listeners: Listeners
    tls: CertificateFiles | None
    server_id: str
    boot: str
    leader_lock: LeaderLock
    traffic: TrafficCounters
    places: Sequence[Place]
    disks: Mapping[str, SharedDisk]
    tables: Mapping[int, Table]
    """Those of the layouts in use at the start, by number."""
    let_go: Callable[[], None]
    """Lets go of what a process that hangs must not keep from the next server."""
    database_file: DatabaseFile | None
    """SQLite's, pinned to what it was when the server started."""
    board: Board = field(default_factory=Board)
    walk_wanted: Flag = field(default_factory=Flag)
    """Whether this server's stores are to be walked."""
    proxy_warning: Once = field(default_factory=Once)
    failures: Counts = field(default_factory=Counts)
    password_slots: Slots = field(default_factory=lambda: Slots(slots_here()))


def share(
    settings: Settings,
    listeners: Listeners,
    tls: CertificateFiles | None,
    joined: Joined,
    let_go: Callable[[], None],
) -> Shared:
    """Make what workers share; raises DatabaseUnavailable when SQLite's file is gone."""
    places = joined.places
    # With leases of seconds each put of what is there renews its time.
    renew_seconds = 0.0 if unsafe_leases(os.environ) else RENEW_SECONDS
    disks = {place.path: SharedDisk(renew_seconds=renew_seconds) for place in places}
    walk_wanted = Flag()
    for place in places:
        if place.store_id in joined.withheld:  # until the process that walks has purged it
            disks[place.path].state.withhold(joined.withheld[place.store_id])
            walk_wanted.set()
    return Shared(
        settings,
        listeners,
        tls,
        joined.server_id,
        secrets.token_hex(8),
        LeaderLock(),
        TrafficCounters(settings.workers),
        places,
        disks,
        joined.tables,
        let_go,
        pinned(settings),
        walk_wanted=walk_wanted,
    )


def pinned(settings: Settings) -> DatabaseFile | None:
    """Return SQLite's file, None on PostgreSQL; raises DatabaseUnavailable when it is gone."""
    path = parse_address(settings.database).path
    if path is None:
        return None
    file = DatabaseFile(Path(path))
    file.pin()
    return file
