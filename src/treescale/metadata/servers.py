"""The cluster's servers and their stores.

`seen` is the database's clock alone: servers' clocks differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Double,
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

from treescale.errors import ServerUnknown, StoreUnknown
from treescale.lease_times import VERSIONS_BEFORE
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_update, insert_or_update_if
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import noted_number
from treescale.metadata.records import (
    ServerRecord,
    StoreRecord,
    StoreReport,
    StoreState,
    Throughput,
    Unreached,
)
from treescale.metadata.schema import servers, settings, stores
from treescale.metadata.settings.settings import GET_SETTING

_THIS_SERVER: Final = servers.c.server_id == bindparam("this")
_SERVER_LABELS: Final = ("name", "address", "zone", "started", "place", "version")

KNOWN: Final = select(servers.c.version).where(_THIS_SERVER)
LIST_SERVERS: Final = select(servers).order_by(servers.c.server_id)
_NOW: Final = select(DatabaseNow().label("now"))
_REGISTER_SERVER: Final = insert_or_update_if(
    servers,
    _SERVER_LABELS,
    {"seen": DatabaseNow()},
    lambda new: or_(
        servers.c.address == new.address,
        servers.c.seen < DatabaseNow() - bindparam("live_seconds"),
        and_(new.place != "", servers.c.place == new.place),
    ),
)
_RATES: Final = tuple(field.name for field in fields(Throughput))
BEAT: Final = (
    update(servers)
    .where(_THIS_SERVER)
    .values(
        seen=DatabaseNow(),
        clock_error=bindparam("now_clock_error", type_=Double()),
        unreached=bindparam("now_unreached", type_=Text()),
        certificate_expires=bindparam("now_certificate_expires", type_=Double()),
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
DEPART: Final = ahead(update(servers).where(_THIS_SERVER).values(seen=0.0), "this")
DEPART_STORES: Final = ahead(
    update(stores).where(stores.c.server_id == bindparam("this")).values(seen=0.0), "this"
)
REMOVE_SERVER: Final = (
    delete(servers).where(_THIS_SERVER).returning(servers.c.server_id, servers.c.name)
)
REMOVE_STORES: Final = delete(stores).where(stores.c.server_id == bindparam("this"))
PRUNE_SERVERS: Final = (
    delete(servers)
    .where(
        and_(
            servers.c.seen < DatabaseNow() - bindparam("silent_seconds"),
            ~exists().where(stores.c.server_id == servers.c.server_id),
        )
    )
    .returning(servers.c.server_id, servers.c.name)
)


OLDER_SETTING: Final = "older_until"
"""The setting that says until when, in seconds, a server of 0.1.0 may have been at work."""
_NOTE_OLDER: Final = insert_or_update(settings, ["value"])


@dataclass(frozen=True, slots=True)
class Older:
    """The servers of versions that know no leases; by the database's clock."""

    names: tuple[str, ...]
    heard_of: float
    """When the last of them was; 0: none is there, or all have said that they stop."""
    noted: float
    """Until when one may have been at work, as far as that was noted; now, if nobody can tell."""
    is_known: bool = True

    @property
    def until(self) -> float:
        """Return until when one may have been at work: 0, never."""
        return max(self.heard_of, self.noted)


def _is_older(version: str | None) -> bool:
    return (version or "") in VERSIONS_BEFORE


def _note_older(connection: Connection, until: float) -> None:
    row = {"name": OLDER_SETTING, "value": f"{until:.3f}"}
    connection.execute(_NOTE_OLDER.on(connection), row)


class Servers:
    """The servers of the cluster, and when each was last heard of.

    `seen` is the database's time, so it may be compared whoever wrote it; servers' clocks may not.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def register(self, server: ServerRecord, *, live_seconds: float, actor: str) -> bool:
        """Add it, or update its labels, and note that it is heard of now.

        False, and nothing changes, when it was heard of within `live_seconds` at another address:
        two servers then claim to be the same one. But not when it says the same `place` as before:
        then the one that was heard of has ended.
        """
        row = {
            "server_id": server.server_id,
            "name": server.name,
            "address": server.address,
            "zone": server.zone,
            "started": server.started,
            "place": server.place,
            "version": server.version,
            "live_seconds": live_seconds,
        }

        def work(connection: Connection) -> bool:
            known = connection.execute(KNOWN, {"this": server.server_id}).one_or_none()
            if not changed(connection, _REGISTER_SERVER.on(connection), row):
                return False
            if known is not None and _is_older(known.version) and not _is_older(server.version):
                _note_older(connection, connection.execute(_NOW).scalar_one())
            if known is None:
                told = {"server_id": server.server_id, "name": server.name, "zone": server.zone}
                record(connection, Event(Kind.SERVER_REGISTERED, actor, payload=told))
            return True

        return await self._connections.write(work)

    async def heartbeat(
        self,
        server_id: str,
        reports: Sequence[StoreReport] = (),
        throughput: Throughput | None = None,
        clock_error: float | None = None,
        unreached: Sequence[Unreached] = (),
        certificate_expires: float | None = None,
    ) -> float:
        """Note that it lives and what it says of itself; return the database's time.

        A store whose report names trouble is not heard of by that; a report on a store that is not
        (or no longer) this server's is ignored. One small transaction for both, so that a beat is
        one commit. It survives the end of every process, but perhaps not a power cut: then the next
        one comes soon enough. Raises ServerUnknown when the server has been forgotten.
        """
        beat = {
            "this": server_id,
            "now_clock_error": clock_error,
            "now_unreached": msgspec.json.encode(unreached).decode() if unreached else None,
            "now_certificate_expires": certificate_expires,
            **{f"now_{name}": getattr(throughput, name, None) for name in _RATES},
        }
        ordered = sorted(reports, key=lambda report: report.store_id)

        def work(connection: Connection) -> float:
            now = connection.execute(BEAT, beat).scalar_one_or_none()
            if now is None:
                raise _unknown_server(server_id)
            if ordered:
                rows = [_report(server_id, report, now) for report in ordered]
                connection.execute(REPORT, rows)
            return float(now)

        return await self._connections.write(work, durable=False)

    async def list(self) -> list[ServerRecord]:
        """Return all, by id."""
        return [_server(row) for row in await self._connections.rows(LIST_SERVERS)]

    async def older(self) -> Older:
        """Return which servers know no leases, and until when one may have been at work."""
        found = [each for each in await self.list() if _is_older(each.version) and each.seen]
        row = await self._connections.row(GET_SETTING, {"this": OLDER_SETTING})
        heard_of = max((each.seen for each in found), default=0.0)
        noted = 0.0 if row is None else noted_number(OLDER_SETTING, row.value)
        is_known = noted is not None
        noted = await self.now() if noted is None else noted
        return Older(tuple(each.name for each in found), heard_of, noted, is_known)

    async def note_older(self, seconds: float) -> Older:
        """Note that they may be at work for so long from now, if they are; return what is noted.

        Their rows do not say so for long: one that is stopped or upgraded says nothing of before.
        To be asked at least twice in that time. Writes once in half of it.
        """
        older, now = await self.older(), await self.now()
        until = older.heard_of + seconds
        if older.heard_of > now - seconds and older.noted < until - seconds / 2:
            await self._connections.write(partial(_note_older, until=until))
        elif not older.is_known or older.noted > now + 2 * seconds:  # or the clock was set back
            await self._connections.write(partial(_note_older, until=now))
        return await self.older()

    async def now(self) -> float:
        """Return the database's time: with the caller's before and after, how far that is off."""
        row = await self._connections.row(_NOW)
        assert row is not None
        return float(row.now)

    async def remove(self, server_id: str, *, actor: str) -> None:
        """Forget it and its stores; raises ServerUnknown. It may register again."""

        def work(connection: Connection) -> None:
            # The server first, as a heartbeat does: then neither waits for the other.
            gone = connection.execute(REMOVE_SERVER, {"this": server_id}).one_or_none()
            if gone is None:
                raise _unknown_server(server_id)
            connection.execute(REMOVE_STORES, {"this": server_id})
            record(connection, _forgotten(gone.server_id, gone.name, actor))

        await self._connections.write(work)

    async def mark_stopped(self, server_id: str) -> None:
        """Note that it has ended: it and its stores may register elsewhere at once.

        Raises ServerUnknown.
        """

        def work(connection: Connection) -> None:
            # In the order of heartbeats, as in `remove`.
            if changed(connection, DEPART, {"this": server_id}) == 0:
                raise _unknown_server(server_id)
            connection.execute(DEPART_STORES, {"this": server_id})

        await self._connections.write(work)

    async def prune(self, silent_seconds: float, *, actor: str) -> int:
        """Forget the servers that have no store and were silent for so long; return how many."""

        def work(connection: Connection) -> int:
            gone = connection.execute(PRUNE_SERVERS, {"silent_seconds": silent_seconds}).all()
            for each in gone:
                record(connection, _forgotten(each.server_id, each.name, actor))
            return len(gone)

        return await self._connections.write(work)


def _forgotten(server_id: str, name: str, actor: str) -> Event:
    told = {"server_id": server_id, "name": name}
    return Event(Kind.SERVER_FORGOTTEN, actor, payload=told)


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
        place=row.place or "",
        version=row.version or "",
        clock_error=row.clock_error,
        unreached=_unreached(row.unreached),
        certificate_expires=row.certificate_expires,
    )


def _unreached(text: str | None) -> tuple[Unreached, ...]:
    """Return whom it does not reach; nobody when a later version says that otherwise."""
    try:
        return msgspec.json.decode(text or "[]", type=tuple[Unreached, ...])
    except msgspec.DecodeError:
        return ()


def _throughput(row: Row[Any]) -> Throughput | None:
    """Return what the server said; None before its first word, or of a version without."""
    rates = [getattr(row, name) for name in _RATES]
    return None if None in rates else Throughput(*rates)


def _unknown_server(server_id: str) -> ServerUnknown:
    return ServerUnknown(f"no server {server_id}: see the servers with `treescale cluster status`")


FORGOTTEN: Final = "forgotten"
"""What an event says of a store that has no row any more; no state of one that has."""
_THIS_STORE: Final = stores.c.store_id == bindparam("this")
_STORE_LABELS: Final = ("server", "path", "zone", "weight", "server_id")

LIST_STORES: Final = select(stores).order_by(stores.c.store_id)
# What stays as it was: when it was first registered, its state, and what was last said of it.
_REGISTER_STORE: Final = insert_or_update_if(
    stores,
    _STORE_LABELS,
    {"seen": DatabaseNow()},
    lambda new: or_(stores.c.server_id == new.server_id, stores.c.server_id == bindparam("holder")),
)
HAS_STORE: Final = select(stores.c.store_id).where(_THIS_STORE)
SET_STATE: Final = (
    update(stores)
    .where(_THIS_STORE, stores.c.state != bindparam("to_state"))
    .values(state=bindparam("to_state"))
)
REMOVE_STORE: Final = delete(stores).where(_THIS_STORE)


class Stores:
    """The stores of the cluster, and whose each is."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def register(self, store: StoreRecord, *, holder: str = "") -> bool:
        """Add it, or update its labels and owner, and note that it is heard of now.

        False, and nothing changes, when neither its own server nor `holder` (a server's id, "" for
        none yet) has it: of two servers that claim a store at once one wins. When it was first
        registered, and its state, stay; `seen`, room and trouble are not taken from the record.
        """
        row = {
            "store_id": store.store_id,
            "server": store.server,
            "path": store.path,
            "zone": store.zone,
            "weight": store.weight,
            "registered": store.registered,
            "server_id": store.server_id,
            "holder": holder,
        }

        def work(connection: Connection) -> bool:
            return connection.execute(_REGISTER_STORE.on(connection), row).rowcount == 1

        return await self._connections.write(work)

    async def set_state(self, store_id: str, state: StoreState, *, actor: str) -> None:
        """Say what is wanted of it; raises StoreUnknown. Twice is once."""

        def work(connection: Connection) -> None:
            change = {"this": store_id, "to_state": state.value}
            if changed(connection, SET_STATE, change):
                record(connection, _store_is(store_id, state.value, actor))
            elif connection.execute(HAS_STORE, {"this": store_id}).first() is None:
                raise _unknown_store(store_id)

        await self._connections.write(work)

    async def list(self) -> list[StoreRecord]:
        """Return all, by id."""
        return [_store(row) for row in await self._connections.rows(LIST_STORES)]

    async def remove(self, store_id: str, *, actor: str) -> None:
        """Forget it; raises StoreUnknown. It may register again, and is then active."""

        def work(connection: Connection) -> None:
            if changed(connection, REMOVE_STORE, {"this": store_id}) == 0:
                raise _unknown_store(store_id)
            record(connection, _store_is(store_id, FORGOTTEN, actor))

        await self._connections.write(work)


def _store(row: Row[Any]) -> StoreRecord:
    return StoreRecord(
        store_id=row.store_id,
        server=row.server,
        path=row.path,
        zone=row.zone,
        weight=row.weight,
        registered=row.registered,
        server_id=row.server_id,
        state=StoreState(row.state),
        seen=row.seen,
        bytes_total=row.bytes_total,
        bytes_free=row.bytes_free,
        trouble=row.trouble,
    )


def _store_is(store_id: str, state: str, actor: str) -> Event:
    return Event(Kind.STORE_STATE, actor, payload={"store_id": store_id, "state": state})


def _unknown_store(store_id: str) -> StoreUnknown:
    return StoreUnknown(f"no store {store_id}: see the stores with `treescale cluster status`")
