"""What makes a restored database no twin of the one that it is a copy of.

Its keys, servers and uploads were not restored (`tables.WITH_IDENTITY`). Here collection is frozen
until somebody has looked, as the disks may hold what was pushed after the backup; webhooks are
paused, as the other database may tell the same; every number
that is given out once goes on far beyond those that the other database may have given out since;
and it has no backup yet, as those of the other are not its own.
"""

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from treescale.lease_times import COLLECTION_SETTING, FROZEN
from treescale.metadata.accounts import COUNTER as GENERATION
from treescale.metadata.engine.upserts import insert_or_ignore, insert_or_update
from treescale.metadata.events.hook_records import HOOKS_SETTING, RESTORED
from treescale.metadata.events.positions import POSITION
from treescale.metadata.portable.last_backup import forget_backup
from treescale.metadata.portable.tables import ENGINES_COUNTERS
from treescale.metadata.schema import counters, hooks, settings

RAISED_BY: Final = 2**32
"""More than a cluster gives out in a lifetime, and room for two million restores in 64 bits."""
_RAISE: Final = (
    update(counters)
    .where(counters.c.name.not_in(ENGINES_COUNTERS), ~counters.c.name.startswith(POSITION))
    .values(value=counters.c.value + RAISED_BY)
)
_FREEZE: Final = insert_or_update(settings, ["value"])
_HOOK: Final = select(hooks.c.hook_id).limit(1)
_FIRST: Final = insert_or_ignore(counters)


def no_twin(connection: Connection) -> None:
    """Make the restored rows those of another database, in the caller's transaction."""
    connection.execute(_FIRST.on(connection), {"name": GENERATION, "value": 0})
    connection.execute(_RAISE)
    forget_backup(connection)
    if connection.execute(_HOOK).first() is not None:
        connection.execute(_FREEZE.on(connection), {"name": HOOKS_SETTING, "value": RESTORED})
    a_late_move(connection)


def a_move(connection: Connection) -> None:
    """Leave everything as it was: the database goes on under another address."""
    del connection


def a_late_move(connection: Connection) -> None:
    """Freeze collection: nobody could tell whether something was written since the backup."""
    connection.execute(_FREEZE.on(connection), {"name": COLLECTION_SETTING, "value": FROZEN})
