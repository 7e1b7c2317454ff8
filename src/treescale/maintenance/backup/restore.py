"""A restore: a backup into an empty database, which is then another one, or the same moved."""

from typing import Final

from treescale.chunks.disk.lock import DirectoryLock
from treescale.errors import BackupInvalid
from treescale.maintenance.backup.backup import Contents, Tell, decode_of
from treescale.maintenance.backup.records import Decoder, Header, Read
from treescale.maintenance.backup.stream import Reader
from treescale.metadata.engine.address import parse_address
from treescale.metadata.migrations import HEAD, KNOWN
from treescale.metadata.portable import tables
from treescale.metadata.portable.fill import filling
from treescale.metadata.portable.identity import a_late_move, a_move, no_twin
from treescale.metadata.portable.loading import Change, Loading

_NEWER: Final = (
    "the backup is of schema {schema} (TreeScale {version}), this version knows up to {head}: "
    "restore it with that version, or upgrade this one"
)


class Source:
    """A backup that is about to be restored; its header is read, and is one of ours."""

    def __init__(self, read: Read, passphrase: bytes | None) -> None:
        """Read the header; raises BackupInvalid."""
        self._reader = Reader(read, passphrase)
        self.decoder = Decoder(self._reader.read, decode_of)
        header = self.header
        if header.schema not in KNOWN:
            raise BackupInvalid(
                _NEWER.format(schema=header.schema, version=header.version, head=HEAD)
            )

    @property
    def header(self) -> Header:
        """Return what it is of."""
        return self.decoder.header

    @property
    def bytes(self) -> int:
        """Return how many were read so far."""
        return self._reader.bytes


async def restore(
    url: str,
    source: Source,
    tell: Tell,
    lock: DirectoryLock,
    *,
    keep_identity: bool,
    is_last: bool = False,
) -> Contents:
    """Put all rows into the empty database at `url`; after an error nothing is in it.

    `is_last`: nothing was written to the old database since the backup, and nothing will be. Where
    nobody knows that, collection is frozen: the disks may hold what the rows do not name.

    `lock` keeps servers from starting in the directory of an SQLite file.

    Raises SettingInvalid when it is not empty, or a server uses it; BackupInvalid when the backup
    is not sound, which is known at its end alone; DatabaseUnavailable; StoreFull.
    """
    file = parse_address(url).file
    if file is not None:
        await lock.take([str(file.parent)])
    async with filling(url, source.header.schema) as loading:
        change = (a_move if is_last else a_late_move) if keep_identity else no_twin
        return await _filled(loading, source, tell, change, keep_identity=keep_identity)


async def _filled(
    loading: Loading, source: Source, tell: Tell, change: Change, *, keep_identity: bool
) -> Contents:
    taken: dict[str, int] = {}
    carried, done = None, 0
    for record in source.decoder:
        if not isinstance(record, list):
            carried = tables.known(record.name, record.columns, record.last_id)
            if record.name in tables.WITH_IDENTITY and not keep_identity:
                carried = None
                continue
            taken[record.name] = 0
            await loading.begin(carried)
            continue
        done += len(record)
        if carried is not None:
            taken[carried.name] += len(record)
            await loading.add(carried, record)
        tell(done, source.bytes)
    await loading.finish(taken, change)
    return Contents(source.header, taken, source.bytes)
