"""The last backup that was read back whole: a row of the settings, so all can tell its age.

A database that is restored as another one has none (`identity`): nobody has backed *it* up.
"""

from typing import Final

import msgspec
from sqlalchemy import delete
from sqlalchemy.engine import Connection

from treescale.metadata.database import Database
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.schema import settings

NAME: Final = "last_backup"
_PUT: Final = insert_or_update(settings, ["value"])
_FORGET: Final = delete(settings).where(settings.c.name == NAME)


class LastBackup(msgspec.Struct, frozen=True):
    """A backup whose file was read back to its end."""

    taken: float
    """What it is a picture of, in seconds since 1970 by the database's clock."""
    actor: str
    bytes: int
    file: str
    """Where it was written, on the machine of the actor."""
    encrypted: bool
    commits: int | None = None
    """The number of the last commit in it, on SQLite: what follows right after it is this note."""


_DECODER: Final = msgspec.json.Decoder(LastBackup)


async def note_backup(database: Database, made: LastBackup) -> None:
    """Note it, and record its event, in one transaction."""
    value = msgspec.json.encode(made).decode()
    told = {"file": made.file, "bytes": made.bytes, "encrypted": made.encrypted}

    def work(connection: Connection) -> None:
        connection.execute(_PUT.on(connection), {"name": NAME, "value": value})
        record(connection, Event(Kind.BACKUP_MADE, made.actor, payload=told))

    await database.connections.write(work)


async def last_backup(database: Database) -> LastBackup | None:
    """Return the last one; None when there was none, or its row cannot be read."""
    return read_note(await database.settings.get(NAME))


def read_note(value: str | None) -> LastBackup | None:
    """Return what the row says; None for what nobody can read: as good as no backup."""
    try:
        return None if value is None else _DECODER.decode(value)
    except msgspec.MsgspecError:
        return None


def forget_backup(connection: Connection) -> None:
    """Have it that there was none, in the caller's transaction."""
    connection.execute(_FORGET)
