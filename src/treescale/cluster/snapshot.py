"""What the rows say of a cluster at one moment: what decisions about it go by. Pure."""

from dataclasses import dataclass

from treescale.metadata.records import (
    LayoutRecord,
    OwedCopies,
    ServerRecord,
    StoreRecord,
    StoreWalk,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows; whoever asks only whose disks these are needs no more than the first three."""

    servers: tuple[ServerRecord, ...]
    stores: tuple[StoreRecord, ...]
    now: float
    """The database's time, as `seen` is in the rows."""
    layout: LayoutRecord | None = None
    """The one in force."""
    missing: tuple[OwedCopies, ...] = ()
    """How many copies homes have yet to get."""
    copies_asked: int | None = None
    walks: tuple[StoreWalk, ...] = ()
    """Where the walk of each store stands."""
