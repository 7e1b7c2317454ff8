"""The database: whether it answers, how fast, with which tables, and whether it keeps its word."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from treescale.cli.doctor.disks import file_system, is_network
from treescale.cli.doctor.finding import Finding, failure, fine, warning
from treescale.cli.terminal.options import require_database
from treescale.clock import SystemClock
from treescale.cluster.advice import CLOCK_SECONDS_MAX
from treescale.cluster.liveness import clock_error
from treescale.config import Settings
from treescale.errors import DatabaseUnavailable
from treescale.metadata.database import Database, opened
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.errors import located
from treescale.metadata.engine.hosts.limit import ConnectionLimit
from treescale.metadata.engine.postgresql import connection_limit, connections_wanted
from treescale.metadata.engine.sqlite_file import DatabaseFile, as_it_is
from treescale.metadata.migrations import HEAD, KNOWN, VERSION_TABLE

LATENCY_SECONDS_MAX: Final = 0.01
QUESTIONS: Final = 5
_CLOCK: Final = SystemClock()
_VERSION: Final = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  a name of ours
_SETTINGS: Final = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
_ASKED: Final = ("fsync", "full_page_writes")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database that answers is like."""

    seconds: float
    """What a question took, at best."""
    clock_error: float
    """How far this machine's clock is ahead of the database's."""
    schema: str
    """"" without tables of ours."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of PostgreSQL; empty on SQLite."""
    limit: ConnectionLimit | None = None
    """Of PostgreSQL, unless a pooler is between."""
    servers: int = 1
    workers: int = 1


def database(settings: Settings) -> Iterator[Finding]:
    """Say how the cluster's database is."""
    path = parse_address(settings.database).path
    if path is not None:
        yield sqlite_place(path, file_system(Path(path).absolute().parent))
        if not Path(path).exists():
            yield fine("database", f"{path} is not there yet: `treescale serve` makes it")
            return
    try:
        facts = asyncio.run(_read(settings))
    except DatabaseUnavailable as away:
        yield failure("database", str(away), "see that it runs, and that this machine reaches it")
        return
    yield from (found for check in CHECKS if (found := check(facts)) is not None)


def sqlite_place(path: str, kind: str) -> Finding:
    """Say whether SQLite's file lies where its locks hold."""
    if is_network(kind):
        advice = "move the data directory to a local disk, or use PostgreSQL (--database)"
        told = f"{path} is on {kind}: SQLite's locks do not hold there, and the file gets damaged"
        return failure("database file", told, advice)
    return fine("database file", f"{path} ({kind or 'unknown file system'})")


def only_read(url: str) -> DatabaseFile | None:
    """Return SQLite's file, which is not written to, not even by its log; None on PostgreSQL."""
    file = parse_address(url).file
    return None if file is None else as_it_is(file)


async def _read(settings: Settings) -> DatabaseFacts:
    """Return what is to be known; raises DatabaseUnavailable."""
    address = parse_address(settings.database)
    require_database(settings.database)
    async with opened(settings.database, file=only_read(settings.database)) as found:
        try:
            return await _asked(found, settings, postgresql=address.path is None)
        except DatabaseUnavailable as away:
            raise located(away, away.__cause__, address) from away


async def _asked(found: Database, settings: Settings, *, postgresql: bool) -> DatabaseFacts:
    times = []
    error = 0.0
    for _ in range(QUESTIONS):
        begun, before = _CLOCK.monotonic(), _CLOCK.now()
        told = await found.servers.now()
        error = clock_error(before, told, _CLOCK.now())
        times.append(_CLOCK.monotonic() - begun)
    schema, servers = "", 0
    try:
        row = await found.connections.row(_VERSION)
        schema = "" if row is None else str(row[0])
        servers = len(await found.servers.list()) if schema in KNOWN else 0
    except DBAPIError:
        schema = schema or ""  # no such table: it is a new database, or another program's
    rows = await found.connections.rows(_SETTINGS, {"names": [*_ASKED]}) if postgresql else []
    return DatabaseFacts(
        min(times),
        error,
        schema,
        {row.name: row.setting for row in rows},
        await connection_limit(parse_address(settings.database)),
        max(1, servers),
        settings.workers,
    )


def latency(facts: DatabaseFacts) -> Finding:
    """Say how long a question takes: each request asks some."""
    found = f"answers within {facts.seconds * 1000:.1f} ms"
    if facts.seconds > LATENCY_SECONDS_MAX:
        advice = "each request asks several questions: have the database near the servers"
        return warning("database", found, advice)
    return fine("database", found)


def schema(facts: DatabaseFacts) -> Finding:
    """Say whether its tables are of this version."""
    if not facts.schema:
        return fine("schema", "no tables yet: the first `treescale serve` makes them")
    if facts.schema not in KNOWN:
        told = f"{facts.schema}, and this version knows up to {HEAD}: a newer one wrote it"
        return failure("schema", told, "install that version here")
    if facts.schema != HEAD:
        advice = (
            "the next `treescale serve` of this version brings it up; servers of the older one "
            "cannot be started after that"
        )
        return warning("schema", f"{facts.schema}, and this version has {HEAD}", advice)
    return fine("schema", facts.schema)


def clock(facts: DatabaseFacts) -> Finding:
    """Say how far this machine's clock is from the database's."""
    found = f"{facts.clock_error:+.1f} s from the database's"
    if abs(facts.clock_error) >= CLOCK_SECONDS_MAX:
        advice = "let NTP set both: certificates and logs go by it, and servers of 0.1.0"
        return warning("clock", found, advice)
    return fine("clock", found)


def connections(facts: DatabaseFacts) -> Finding | None:
    """Say whether PostgreSQL lets all servers connect, if they are all like this one."""
    if not facts.settings:
        return None
    wanted = connections_wanted(facts.workers, facts.servers)
    use = f"{facts.servers} servers of {facts.workers} workers use up to {wanted}"
    if facts.limit is None:
        return fine("max_connections", f"a pooler is between, and has a limit of its own; {use}")
    found = f"{facts.limit.allowed} for all; {use}"
    advice = facts.limit.advice(wanted)
    return warning("max_connections", found, advice) if advice else fine("max_connections", found)


def durability(facts: DatabaseFacts) -> Finding | None:
    """Say whether what PostgreSQL has committed survives a power cut.

    `synchronous_commit` is none of it: servers switch it on for themselves.
    """
    if "fsync" not in facts.settings:
        return None
    off = [name for name in ("fsync", "full_page_writes") if facts.settings.get(name) == "off"]
    if off:
        told = f"{' and '.join(off)} off: a power cut loses or damages what was acknowledged"
        return failure("durability", told, f"switch {' and '.join(off)} on in postgresql.conf")
    return fine("durability", "fsync and full_page_writes are on")


CHECKS: Final[tuple[Callable[[DatabaseFacts], Finding | None], ...]] = (
    latency,
    schema,
    clock,
    connections,
    durability,
)
"""What is looked for in a database that answers."""
