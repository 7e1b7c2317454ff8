"""The cluster's settings: text by name. Who changes one holds it, and is told what it was."""

from collections.abc import Callable, Collection
from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore, insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.schema import settings

GET_SETTING: Final = select(settings.c.value).where(settings.c.name == bindparam("this"))
_HOLD_SETTING: Final = GET_SETTING.with_for_update()
_GET_SETTINGS: Final = select(settings).where(
    settings.c.name.in_(bindparam("these", expanding=True))
)
PUT_SETTING: Final = insert_or_update(settings, ["value"])
_ADD_SETTING: Final = insert_or_ignore(settings)
REMOVE_SETTING: Final = delete(settings).where(settings.c.name == bindparam("this"))
Check = Callable[[str | None], None]
"""Raises when a setting that is this (None: nothing is set) is not to be changed."""


class Settings:
    """The cluster's settings: text by name."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, name: str) -> str | None:
        """Return the value, None when unset."""
        row = await self._connections.row(GET_SETTING, {"this": name})
        return None if row is None else str(row.value)

    async def several(self, names: Collection[str]) -> dict[str, str]:
        """Return those of these that are set, as they are at one moment."""
        rows = await self._connections.rows(_GET_SETTINGS, {"these": [*names]})
        return {row.name: row.value for row in rows}

    async def put(self, name: str, value: str) -> None:
        """Set it."""

        def work(connection: Connection) -> None:
            connection.execute(PUT_SETTING.on(connection), {"name": name, "value": value})

        await self._connections.write(work)

    async def remove(self, name: str) -> None:
        """Leave it to the default; twice is once."""
        await self._connections.change(REMOVE_SETTING, {"this": name})

    async def change(
        self, name: str, value: str | None, *, actor: str, check: Check | None = None
    ) -> None:
        """Set it, as somebody wants it; None leaves it to the default. The same again is nothing.

        What servers note for themselves is put, and not changed. Raises what `check` does.
        """

        def work(connection: Connection) -> None:
            change_setting(connection, name, value, actor=actor, check=check)

        await self._connections.write(work)


def change_setting(
    connection: Connection,
    name: str,
    value: str | None,
    *,
    actor: str,
    check: Check | None = None,
) -> None:
    """Set it in the caller's transaction; see `Settings.change`."""
    before = hold_setting(connection, name, value)
    if check is not None:
        check(before)
    if before == value:
        return
    if value is None:
        connection.execute(REMOVE_SETTING, {"this": name})
    else:
        connection.execute(PUT_SETTING.on(connection), {"name": name, "value": value})
    told = {"name": name, "value": value, "before": before}
    record(connection, Event(Kind.SETTING_CHANGED, actor, payload=told))


def hold_setting(connection: Connection, name: str, value: str | None) -> str | None:
    """Return what is set, None for nothing; nobody else changes it until the transaction ends.

    Where nothing is, there is no row to hold: `value`, unless that is None, is set at once.
    """
    while True:
        row = {"name": name, "value": value}
        if value is not None and changed(connection, _ADD_SETTING.on(connection), row):
            return None
        held = connection.execute(_HOLD_SETTING, {"this": name}).one_or_none()
        if held is not None or value is None:
            return None if held is None else str(held.value)
