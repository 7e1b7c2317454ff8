"""What the processes of a server share: made before they are forked."""

import mmap
import os
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isinf
from pathlib import Path
from typing import Final

from treescale.auth.counts import Counts
from treescale.auth.slots import Slots, slots_here
from treescale.chunks.disk.directory import RENEW_SECONDS
from treescale.chunks.disk.store import SharedDisk
from treescale.chunks.format.placement import Table
from treescale.clock import SystemClock
from treescale.config import Settings, unsafe_leases
from treescale.console.watch.sights import Moments
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metrics.chunk_reads import ChunkReads
from treescale.metrics.meters import Meters
from treescale.metrics.shared_counters import HUNG_WORKERS_MAX
from treescale.metrics.traffic import TrafficCounters
from treescale.peer.connection import encrypting
from treescale.server.data.directories import Place
from treescale.server.network.address import Listeners
from treescale.server.network.certificates import peer_authorities
from treescale.server.network.outbound import check_outbound
from treescale.server.network.served_certificate import ServedCertificate
from treescale.server.processes.leader_lock import LeaderLock
from treescale.server.processes.service_manager import Pulse
from treescale.server.readiness import Board
from treescale.server.start import Joined

WALKERS: Final = 1
"""Processes of a server that count beside its workers; as many dead ones may hang as of those."""


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
    tls: ServedCertificate | None
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
    pulse: Pulse
    database_file: DatabaseFile | None
    """SQLite's, pinned to what it was when the server started."""
    meters: Meters
    chunk_reads: ChunkReads
    """Which chunks are read for clients, while somebody looks."""
    peer_authorities: str = ""
    """Certificates that sign those of other servers, in PEM; "": nobody looks at them."""
    board: Board = field(default_factory=Board)
    walk_wanted: Flag = field(default_factory=Flag)
    """Whether this server's stores are to be walked."""
    moments: Moments = field(default_factory=Moments)
    proxy_warning: Once = field(default_factory=Once)
    failures: Counts = field(default_factory=Counts)
    requests: Counts = field(default_factory=Counts)
    """Of accounts, where their number in a minute is limited."""
    password_slots: Slots = field(default_factory=lambda: Slots(slots_here()))

    def peer_tls(self) -> ssl.SSLContext:
        """Return what encrypts on the way to another server."""
        return encrypting(self.peer_authorities)

    def certificate_expires(self) -> float | None:
        """Return when the certificate in use ends, in seconds since 1970.

        None without TLS, and for one that says nothing we can read.
        """
        return None if self.tls is None or isinf(self.tls.expires) else self.tls.expires


def share(
    settings: Settings,
    listeners: Listeners,
    tls: ServedCertificate | None,
    joined: Joined,
    let_go: Callable[[], None],
    pulse: Pulse,
) -> Shared:
    """Make what workers share; raises DatabaseUnavailable when SQLite's file is gone.

    And SettingInvalid when there are no certificates in `peer_ca`, or `outbound_ca`.
    """
    check_outbound(settings)
    places = joined.places
    # With leases of seconds each put of what is there renews its time.
    renew_seconds = 0.0 if unsafe_leases(os.environ) else RENEW_SECONDS
    processes = settings.workers + WALKERS + HUNG_WORKERS_MAX
    meters = Meters(processes, [place.store_id for place in places])
    disks = {
        place.path: SharedDisk(
            renew_seconds=renew_seconds, timed=partial(meters.store_call, number)
        )
        for number, place in enumerate(places)
    }
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
        pulse,
        pinned(settings),
        meters,
        ChunkReads(SystemClock(), settings.workers),
        peer_authorities(settings),
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
