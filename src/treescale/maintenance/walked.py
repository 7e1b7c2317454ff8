"""What a walk works on: a store of this server, and the cluster around it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from treescale.chunks.disk.contents import AgedCopy, TrashContents
from treescale.chunks.disk.directory import StoreUsage
from treescale.chunks.disk.quiet import Quiet
from treescale.chunks.disk.verified import FileStamp
from treescale.chunks.format.placement import Table
from treescale.chunks.store import ChunkStore, KeepingStore


class WalkedStore(ChunkStore, KeepingStore, Protocol):
    """A store on this machine."""

    @property
    def is_well(self) -> bool:
        """Say whether it can be expected to answer."""
        ...

    async def stamps(self, chunks: Sequence[bytes]) -> list[FileStamp | None]:
        """Return the stamp of each chunk's file."""
        ...

    async def trim(self, chunk: bytes, stamp: FileStamp) -> bool:
        """Move the chunk to the trash if its file still has this stamp."""
        ...

    async def read_back(self, chunk: bytes) -> int:
        """Hash what the disk has of it; return how many bytes."""
        ...

    async def trashed(self, seconds: float, limit: int, after: bytes = b"") -> list[bytes]:
        """Return up to `limit` chunks that have been in the trash for so long, by id."""
        ...

    async def drop(self, chunk: bytes) -> None:
        """Remove the chunk from the trash, for good."""
        ...

    async def in_trash(self, chunk: bytes) -> bool:
        """Say whether it lies in the trash."""
        ...

    async def restore(self, chunk: bytes) -> bool:
        """Bring it back from the trash, as if it was put now; say whether it was there."""
        ...

    async def usage(self) -> StoreUsage:
        """Return how full the store is."""
        ...


class CollectedStore(WalkedStore, Protocol):
    """One that says enough of its copies to take some away."""

    @property
    def quiet(self) -> Quiet:
        """Return since when nothing has happened to it or its clock."""
        ...

    @property
    def renew_seconds(self) -> float:
        """Return the age from which on a put renews the time of a copy."""
        ...

    async def aged(self, chunks: Sequence[bytes]) -> list[AgedCopy]:
        """Return those that are here, with their ages."""
        ...

    async def remove(
        self, copies: Sequence[tuple[bytes, FileStamp]], may: Callable[[], bool]
    ) -> list[bytes]:
        """Move those to the trash whose files still have these stamps, while `may` says so."""
        ...

    async def trash(self) -> TrashContents:
        """Return what lies in the trash."""
        ...

    async def clean(self, seconds: float) -> int:
        """Remove what dead processes left, and evidence that is so old; return how many files."""
        ...


class ErasingStore(Protocol):
    """A store that can forget at once."""

    @property
    def answers(self) -> bool:
        """Say whether it can be expected to erase, be it served from or not."""
        ...

    def admit(self) -> None:
        """Serve from it again, if it was withheld until it had erased what is purged."""
        ...

    async def erase(self, chunks: Sequence[bytes], may: Callable[[], bool]) -> list[bytes]:
        """Unlink them, also from trash and quarantine, while `may` says so.

        Return those of which nothing is left: durably.
        """
        ...


class WholeStore(CollectedStore, ErasingStore, Protocol):
    """A store of this machine with all that is done to keep it."""


class Cluster(Protocol):
    """The cluster as this server sees it now."""

    @property
    def tables(self) -> Sequence[Table]:
        """Return the placement tables of the layouts in use, newest first."""
        ...

    def is_up(self, store_id: str) -> bool:
        """Say whether the store's server, or disk here, answers."""
        ...

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return a way to the store, None when it is not known."""
        ...

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        """Return a chunk's bytes, verified, from whoever has them, for a store that lacks them."""
        ...

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store that answers has a file of it; raises NotEnoughStores."""
        ...

    async def is_lost(self, chunk: bytes) -> bool:
        """Look for a chunk everywhere; say whether it is noted by now that nobody has a good copy.

        One that is found is noted as such. Raises NotEnoughStores, and its like, when not all
        stores can be asked.
        """
        ...
