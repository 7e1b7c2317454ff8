"""The cluster's servers in SQL. `seen` is the database's clock alone: servers' clocks differ."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Row,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import ServerUnknown
from treescale.metadata.records import ServerRecord, StoreReport, Throughput
from treescale.metadata.schema import servers, stores
from treescale.metadata.sql.connections import Connections, changed
from treescale.metadata.sql.statements import insert_or_update_if
from treescale.metadata.sql.times import DatabaseNow

_THIS: Final = servers.c.server_id == bindparam("this")
_LABELS: Final = ("name", "address", "zone", "started")

LIST: Final = select(servers).order_by(servers.c.server_id)
_NOW: Final = select(DatabaseNow().label("now"))
_REGISTER: Final = insert_or_update_if(
    servers,
    _LABELS,
    {"seen": DatabaseNow()},
    lambda new: or_(
        servers.c.address == new.address,
        servers.c.seen < DatabaseNow() - bindparam("live_seconds"),
    ),
)
_RATES: Final = tuple(field.name for field in fields(Throughput))
BEAT: Final = (
    update(servers)
    .where(_THIS)
    .values(
        seen=DatabaseNow(),
        **{name: bindparam(f"now_{name}", type_=BigInteger()) for name in _RATES},
    )
    .returning(servers.c.seen)
)
REPORT: Final = (
    update(stores)
    .where(stores.c.store_id == bindparam("store"), stores.c.server_id == bindparam("this"))
    .values(
        bytes_total=bindparam("total"),
        bytes_free=bindparam("free"),
        trouble=bindparam("why", type_=Text()),
        seen=case((bindparam("why", type_=Text()) == "", bindparam("now")), else_=stores.c.seen),
    )
)
DEPART: Final = update(servers).where(_THIS).values(seen=0.0)
DEPART_STORES: Final = (
    update(stores).where(stores.c.server_id == bindparam("this")).values(seen=0.0)
)
REMOVE: Final = delete(servers).where(_THIS)
REMOVE_STORES: Final = delete(stores).where(stores.c.server_id == bindparam("this"))
PRUNE: Final = delete(servers).where(
    and_(
        servers.c.seen < DatabaseNow() - bindparam("silent_seconds"),
        ~exists().where(stores.c.server_id == servers.c.server_id),
    )
)


class SqlServers:
    """Implements `protocols.Servers`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def register(self, server: ServerRecord, *, live_seconds: float) -> bool:
        """Add it or update its labels; False when it lives at another address."""
        row = {
            "server_id": server.server_id,
            "name": server.name,
            "address": server.address,
            "zone": server.zone,
            "started": server.started,
            "live_seconds": live_seconds,
        }

        def work(connection: Connection) -> bool:
            return connection.execute(_REGISTER.on(connection), row).rowcount == 1

        return await self._connections.write(work)

    async def heartbeat(
        self,
        server_id: str,
        reports: Sequence[StoreReport] = (),
        throughput: Throughput | None = None,
    ) -> float:
        """Say that it is alive, and how it and its stores are; return the database's time."""
        beat = {"this": server_id} | {
            f"now_{name}": getattr(throughput, name, None) for name in _RATES
        }
        ordered = sorted(reports, key=lambda report: report.store_id)

        def work(connection: Connection) -> float:
            now = connection.execute(BEAT, beat).scalar_one_or_none()
            if now is None:
                raise _unknown(server_id)
            if ordered:
                rows = [_report(server_id, report, now) for report in ordered]
                connection.execute(REPORT, rows)
            return float(now)

        return await self._connections.write(work, durable=False)

    async def list(self) -> list[ServerRecord]:
        """Return all, by id."""
        return [_server(row) for row in await self._connections.rows(LIST)]

    async def now(self) -> float:
        """Return the database's time."""
        row = await self._connections.row(_NOW)
        assert row is not None
        return float(row.now)

    async def remove(self, server_id: str) -> None:
        """Forget it with its stores; raises ServerUnknown."""

        def work(connection: Connection) -> None:
            # The server first, as a heartbeat does: then neither waits for the other.
            if connection.execute(REMOVE, {"this": server_id}).rowcount == 0:
                raise _unknown(server_id)
            connection.execute(REMOVE_STORES, {"this": server_id})

        await self._connections.write(work)

    async def depart(self, server_id: str) -> None:
        """Note that it and its stores have ended; raises ServerUnknown."""

        def work(connection: Connection) -> None:
            # In the order of heartbeats, as in `remove`.
            if changed(connection, DEPART, {"this": server_id}) == 0:
                raise _unknown(server_id)
            connection.execute(DEPART_STORES, {"this": server_id})

        await self._connections.write(work)

    async def prune(self, silent_seconds: float) -> int:
        """Forget the servers without stores that were silent for so long; return how many."""
        return await self._connections.change(PRUNE, {"silent_seconds": silent_seconds})


def _report(server_id: str, report: StoreReport, now: float) -> dict[str, object]:
    return {
        "this": server_id,
        "store": report.store_id,
        "total": report.bytes_total,
        "free": report.bytes_free,
        "why": report.trouble,
        "now": now,
    }


def _server(row: Row[Any]) -> ServerRecord:
    return ServerRecord(
        server_id=row.server_id,
        name=row.name,
        address=row.address,
        zone=row.zone,
        started=row.started,
        seen=row.seen,
        throughput=_throughput(row),
    )


def _throughput(row: Row[Any]) -> Throughput | None:
    """Return what the server said; None before its first word, or of a version without."""
    rates = [getattr(row, name) for name in _RATES]
    return None if None in rates else Throughput(*rates)


def _unknown(server_id: str) -> ServerUnknown:
    return ServerUnknown(f"no server {server_id}: see the servers with `treescale cluster status`")
