"""The last backup: when it was taken, and whether that is long ago."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from treescale.cli.backup.restore import age_text
from treescale.cli.doctor.database import only_read
from treescale.cli.doctor.finding import Finding, fine, warning
from treescale.cli.terminal.output import size
from treescale.config import Settings
from treescale.errors import Failed
from treescale.metadata.database import opened
from treescale.metadata.engine.address import parse_address
from treescale.metadata.portable.last_backup import LastBackup, last_backup

AGE_SECONDS_MAX: Final = 2 * 86_400
"""As `TreeScaleBackupOld` among the alerts has it: of each night, one may be missing."""
_ADVICE: Final = (
    "say `treescale backup DIRECTORY --keep 14` each night: docs/operations.md, "
    '"A backup each night"'
)


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """What is known of backups."""

    now: float
    last: LastBackup | None
    oldest: float | None
    """When the oldest repository came into being; None without any."""


def backup(settings: Settings) -> Iterator[Finding]:
    """Say how old the last backup is; nothing where the database says nothing: that is told."""
    path = parse_address(settings.database).path
    if path is not None and not Path(path).exists():
        return
    try:
        facts = asyncio.run(_read(settings.database))
    except (Failed, DBAPIError):
        return
    yield backup_age(facts)


def backup_age(facts: BackupFacts) -> Finding:
    """Say whether it is good enough. A registry that is new, or has nothing, needs none yet."""
    if facts.last is None:
        if facts.oldest is None or facts.now - facts.oldest < AGE_SECONDS_MAX:
            return fine("backup", "none yet, and nothing here is older than two days")
        return warning("backup", "none that was read back is known of this database", _ADVICE)
    age = facts.now - facts.last.taken
    if age < -AGE_SECONDS_MAX:
        told = f"is dated {age_text(-age)} ahead, by {facts.last.actor}: the clock was wrong then"
        return warning("backup", told, f"nobody knows how old it is: make another, and {_ADVICE}")
    found = f"of {age_text(age)} ago, {size(facts.last.bytes)}, by {facts.last.actor}"
    if age > AGE_SECONDS_MAX:
        return warning("backup", found, f"look why there is no newer one, or {_ADVICE}")
    return fine("backup", found)


async def _read(url: str) -> BackupFacts:
    async with opened(url, file=only_read(url)) as found:
        return BackupFacts(
            await found.servers.now(),
            await last_backup(found),
            await found.repositories.first_created(),
        )
