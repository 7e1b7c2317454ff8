"""A backup: one snapshot of the database, written down and read again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from treescale import __version__
from treescale.maintenance.backup.records import Decode, Decoder, Encoder, Header, Read, TableRecord
from treescale.maintenance.backup.stream import Reader, Writer
from treescale.metadata.portable import tables
from treescale.metadata.portable.snapshot import Snapshot, snapshot

Tell = Callable[[int, int], None]
"""Hear how many rows, and how many bytes of the stream, are behind."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a backup."""

    header: Header
    rows: Mapping[str, int]
    bytes: int


async def back_up(url: str, writer: Writer, tell: Tell) -> Contents:
    """Write all rows of the database at `url`, as they are at one moment; nobody waits for it.

    Raises DatabaseUnavailable, SettingInvalid, and what `writer` raises: then it is no backup.
    """
    async with snapshot(url) as found:
        return await _written(found, writer, tell)


async def _written(found: Snapshot, writer: Writer, tell: Tell) -> Contents:
    encoder, facts = Encoder(), found.facts
    header = Header(
        schema=facts.schema,
        taken=facts.taken,
        engine=facts.engine,
        version=__version__,
        commits=facts.commits,
        file=facts.file,
        cluster=facts.cluster,
    )
    writer.write(encoder.header(header))
    done = 0
    for each in facts.tables:
        writer.write(encoder.table(TableRecord(each.name, each.columns, each.last_id)))
        async for batch in found.batches(each):
            for record in encoder.add(batch):
                writer.write(record)
            done += len(batch)
            tell(done, writer.bytes)
    writer.write(encoder.end())
    writer.close()
    return Contents(header, encoder.rows, writer.bytes)


def read_back(read: Read, passphrase: bytes | None, tell: Tell) -> Contents:
    """Read a backup from its first byte to its last; raises BackupInvalid unless it is sound."""
    reader = Reader(read, passphrase)
    decoder = Decoder(reader.read, decode_of)
    done = 0
    for record in decoder:
        if isinstance(record, list):
            done += len(record)
            tell(done, reader.bytes)
    return Contents(decoder.header, decoder.rows, reader.bytes)


def decode_of(table: TableRecord) -> Decode:
    """Return what reads the rows of a table; raises BackupInvalid for one that is none of ours."""
    return tables.decoder(tables.known(table.name, table.columns, table.last_id)).decode
