"""Whether a server is about to start on the right database; if that is not sure, it does not start.

Two mistakes look like a new registry. The database of full disks is away (its file is lost, the URL
is another's): the registry would start empty, and new chunks would come among those that nobody
knows of any more. And the directory has a database of its own, but a setting that was forgotten
names another one: the server would join that cluster, and its images would seem to be gone. A
database that knows the disks is the right one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treescale.config import DATABASE_FILE, Settings
from treescale.errors import DatabaseUnavailable, SettingInvalid, StoreUnusable
from treescale.log import get_logger
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.peek import Peek, peek
from treescale.metadata.engine.sqlite_start import check_file
from treescale.server.data.directories import DataDirectory

_CHUNKS: Final = "*/*/*"


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator has said is meant, for this one start; and where settings come from."""

    forget_chunks: bool = False
    leave_database: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)


NO_CONSENT: Final = Consent()


async def check(settings: Settings, directories: Sequence[DataDirectory], consent: Consent) -> None:
    """Raise when the database is not sound, or the wrong one; nothing is made or migrated.

    StoreUnusable, SettingInvalid or DatabaseUnavailable, each with what to do.
    """
    file = parse_address(settings.database).path
    if file is not None:
        how = await asyncio.to_thread(check_file, Path(file))
        if how:
            get_logger().info("database.checked", how=how)
    here = [each for each in directories if each.store_id and not each.why]
    if not here:
        return
    found = await peek(settings.database)
    strange = [each for each in here if each.store_id not in found.stores]
    for each in strange:
        full = await asyncio.to_thread(_holds_chunks, Path(each.root))
        if full and found.pushed:
            get_logger().warning("store.strange", store=each.store_id, path=each.root)
        elif full and not consent.forget_chunks:
            raise StoreUnusable(_unknown(each.path, file, consent))
    for each in strange:
        await _check_own(each, settings, file, consent)


async def _check_own(
    each: DataDirectory, settings: Settings, file: str | None, consent: Consent
) -> None:
    """Raise SettingInvalid when the directory has a database in use, and another one is named."""
    own = Path(each.root) / DATABASE_FILE
    if consent.leave_database or (file is not None and _is_same(Path(file), own)):
        return
    try:
        left: Peek = await peek(f"sqlite:///{own}")
    except DatabaseUnavailable as error:
        raise SettingInvalid(
            _two_databases(each.path, own, settings, consent, f"which cannot be read: {error}")
        ) from error
    if left.used:
        raise SettingInvalid(
            _two_databases(each.path, own, settings, consent, "with users and repositories")
        )


def _is_same(one: Path, other: Path) -> bool:
    return one.absolute() == other


def _holds_chunks(root: Path) -> bool:
    return next((root / "chunks").glob(_CHUNKS), None) is not None


def _unknown(path: str, file: str | None, consent: Consent) -> str:
    where = f"the database {file}" if file is not None else "the PostgreSQL database"
    restore = (
        f"restore {file} from its backup"
        if file is not None
        else "restore it from its dump, or correct the URL"
    )
    source = consent.sources.get("database", "default")
    return (
        f"{path} is full of chunks, and {where} (database: {source}) is empty: without the "
        f"database nobody knows what they are, so this is not taken for a new registry. {restore}, "
        "and start again. If what was stored may be forgotten, say --forget-chunks once"
    )


def _two_databases(path: str, own: Path, settings: Settings, consent: Consent, what: str) -> str:
    sources = consent.sources
    kind = "sqlite" if settings.database.startswith("sqlite:") else "postgresql"
    return (
        f"two settings disagree: data ({sources.get('data', 'default')}) is {path}, which has a "
        f"database of its own, {own}, {what}; and database ({sources.get('database', 'default')}) "
        f"is another one ({kind}://…), which does not know this directory. To go on with its own, "
        "take `database` away. To leave its users and images behind and join the other, say "
        "--leave-database once, or move the file away"
    )
