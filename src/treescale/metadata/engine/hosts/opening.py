"""New connections to whichever of several hosts takes writes, also through a pooler.

Each new connection is asked two things before anybody gets it. Whether it may write: a standby may
not, nor a primary of before that has come back as one. And whether the process that answers is the
one that took the connection: if not, a pooler (pgbouncer) is between, which may give each
transaction another session. To that nothing of a session may be entrusted: no prepared statement,
and no setting that outlives its transaction.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from treescale.metadata.engine.hosts.host import Host

HEAD_START_SECONDS: Final = 0.25
"""After so long without an answer of one host the next is asked as well: one that is down without
a word must not cost the time of all."""
_LOOK: Final = (
    "SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') = 'on' AS read_only"
)
_REFUSED_SETTINGS: Final = "08P01"
"""How a pooler answers settings that it does not know (protocol_violation)."""
_GOODBYE_SECONDS_MAX: Final = 1.0
APPLICATION: Final = "treescale"
"""By which PostgreSQL knows our connections (`application_name`)."""
DRIVERS_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class NoPrimary(ConnectionError):
    """Hosts answered, and none of them takes writes now."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new connection."""

    connection: Any
    """The driver's."""
    pooled: bool
    """Whether a pooler is between: see the module."""

    async def close(self) -> None:
        """Let it go, with a goodbye if there is somebody to hear it soon."""
        with suppress(*DRIVERS_ERRORS, OSError):  # it is closed all the same
            await self.connection.close(timeout=_GOODBYE_SECONDS_MAX)


class Opener:
    """Opens connections. `arguments` are the driver's; `settings` are of the session."""

    def __init__(
        self,
        hosts: Sequence[Host],
        arguments: Mapping[str, object],
        settings: Mapping[str, str],
        *,
        needs_writable: bool,
        seconds_max: float,
    ) -> None:
        """Without hosts the driver's own are meant: PGHOST, or a socket of this machine.

        `seconds_max` is what each host may take. Where not `needs_writable`, any host will do.
        """
        self._hosts: list[Host | None] = [*hosts] or [None]
        self._arguments = dict(arguments)
        self.settings = dict(settings)
        self._needs_writable = needs_writable
        self._seconds_max = seconds_max
        self._plain = False
        """Whether settings are refused when a connection is opened."""

    async def open(self) -> Opened:
        """Return a connection. The host that was good last time is asked first.

        Raises NoPrimary when hosts answer and none of them takes writes, OSError when none answers,
        the driver's error when one refuses us.
        """
        made: list[tuple[Host | None, Opened]] = []
        refused: list[Exception] = []
        chosen = None
        try:
            await self._race(made, refused)
            if not made:
                raise telling(refused)
            chosen = made[0]
        finally:
            for each in made:
                if each is not chosen:
                    each[1].connection.terminate()
        host, opened = chosen
        self._hosts.sort(key=lambda each: each is not host)
        return opened

    async def _race(self, made: list[tuple[Host | None, Opened]], refused: list[Exception]) -> None:
        """Ask one host after another, each with a head start, until there is a connection."""
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            for host in [*self._hosts]:
                running.add(group.create_task(self._try(host, made, refused)))
                running = await _one_done(running, HEAD_START_SECONDS)
                if made:
                    break
            while running and not made:
                running = await _one_done(running, None)
            for each in running:
                each.cancel()

    async def _try(
        self,
        host: Host | None,
        made: list[tuple[Host | None, Opened]],
        refused: list[Exception],
    ) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                made.append((host, await self._open(host)))
        except (*DRIVERS_ERRORS, OSError) as error:
            refused.append(error)
        except Exception as error:  # noqa: BLE001  the driver takes it for granted who answers
            told = f"{host or 'the server'} answers as no PostgreSQL does ({error!r})"
            refused.append(ConnectionError(told))

    async def _open(self, host: Host | None) -> Opened:
        connection = await self._connect(host)
        try:
            pooled = await self._look(host, connection)
            if self._plain and not pooled:
                await connection.execute(settings_statement(self.settings, local=False))
                self._plain = False
        except BaseException:
            connection.terminate()
            raise
        return Opened(connection, pooled)

    async def _look(self, host: Host | None, connection: Any) -> bool:
        """Return whether a pooler is between; raises NoPrimary."""
        row = await connection.fetchrow(_LOOK)
        if self._needs_writable and row["read_only"]:
            raise NoPrimary(f"{host or 'the server'} is a standby, or takes no writes")
        return bool(row["pid"] != connection.get_server_pid())

    async def _connect(self, host: Host | None) -> Any:
        if not self._plain:
            try:
                return await self._connect_with(host, self.settings)
            except asyncpg.PostgresError as error:
                if error.sqlstate != _REFUSED_SETTINGS:
                    raise
                self._plain = True
        return await self._connect_with(host, {})

    async def _connect_with(self, host: Host | None, settings: Mapping[str, str]) -> Any:
        where: dict[str, object] = {} if host is None or not host.name else {"host": host.name}
        if host is not None and host.port is not None:
            where["port"] = host.port
        return await asyncpg.connect(
            **self._arguments,
            **where,
            statement_cache_size=0,  # else what a pooler's session has would get a name
            target_session_attrs="any",  # as each host is asked by itself
            server_settings={"application_name": APPLICATION, **settings},
        )


def settings_statement(settings: Mapping[str, str], *, local: bool) -> str:
    """Return what makes settings, all at once; `local` to the end of the transaction."""
    words = (f"set_config('{name}', '{value}', {local})" for name, value in settings.items())
    return f"SELECT {', '.join(words)}"


def telling(refused: Sequence[Exception]) -> Exception:
    """Return the error that says most: what one that runs has against us, then that none writes."""
    return min(refused, key=_rank)


def _rank(error: Exception) -> int:
    if isinstance(error, DRIVERS_ERRORS):
        state = str(getattr(error, "sqlstate", None) or "")
        return 2 if state.startswith(("08", "57P")) else 0
    return 1 if isinstance(error, NoPrimary) else 2


async def _one_done(
    running: set[asyncio.Task[None]], seconds: float | None
) -> set[asyncio.Task[None]]:
    """Wait until one has ended, or for so long; return those that have not."""
    _, left = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return left
