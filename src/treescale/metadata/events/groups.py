"""Groups of consumers: each event of a namespace is given to one of them, until one has it.

    position ──► given, with a lease ──► acknowledged: forgotten
                     ▲        │
                     └────────┴ the lease is over: given again, first of all

The group's row is locked first, so of two that ask at once each gets others. Times are the
database's. What was pruned is given to nobody; the group is told that there is a gap. A group of
maintainers is given what these are shown, whoever asks for it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BindParameter, Double, Row, Select, bindparam, delete, func, select, update
from sqlalchemy.engine import Connection

from treescale.errors import Forbidden, NameUnknown, TooMany
from treescale.metadata.engine.clock import ASKED_ONCE, DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore, insert_or_update
from treescale.metadata.events.log import PRUNED, event_of
from treescale.metadata.events.owners import hold_owner
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.schema import event_groups, event_leases, events, namespaces

GIVEN_AT_ONCE_MAX: Final = 100
LEASE_SECONDS: Final = 30.0
LEASE_SECONDS_MAX: Final = 2 * LEASE_SECONDS
"""One that seems to end later was given before the database's clock was set back, and is over."""
LEASED_MAX: Final = 10_000
"""What a group was given and has not acknowledged: then it is given nothing new."""
GROUPS_MAX: Final = 100
"""Of a namespace."""
WINDOW: Final = 1000
"""Events of all namespaces that are looked through at once."""
PASSED_MAX: Final = 100
PASSED_SECONDS: Final = 60.0
"""After so many events of others, or so long, a group that waits notes that it has passed them: not
after each, as there may be many groups, and long before such events are pruned."""


class Audience(StrEnum):
    """Whose a group is: the one that made it."""

    OWNER = "owner"
    MAINTAINER = "maintainer"
    """Given what is of repositories and webhooks, and nothing of members and tokens."""


_OF_HOOKS: Final = "hook."
"""How kinds of webhooks begin."""
_THESE: Final[BindParameter[int]] = bindparam("these", expanding=True)
_NAMED: Final[Select[Any]] = (
    select(event_groups.c.group_id, event_groups.c.audience)
    .join(namespaces, namespaces.c.namespace_id == event_groups.c.namespace_id)
    .where(namespaces.c.name == bindparam("namespace"), event_groups.c.name == bindparam("name"))
)
_MAKE_NAMESPACE: Final = insert_or_ignore(namespaces)
_NAMESPACE_ID: Final = select(namespaces.c.namespace_id).where(
    namespaces.c.name == bindparam("namespace")
)
_COUNT: Final = select(func.count()).select_from(
    select(event_groups.c.group_id)
    .where(event_groups.c.namespace_id == bindparam("namespace_id"))
    .limit(GROUPS_MAX)
    .subquery()
)
_MAKE: Final = insert_or_ignore(
    event_groups, computed={"created": DatabaseNow(), "seen": DatabaseNow()}
)
_HOLD: Final[Select[Any]] = (
    select(event_groups.c.position, event_groups.c.audience)
    .where(event_groups.c.group_id == bindparam("group"))
    .with_for_update()
)
LIST: Final = (
    select(event_groups)
    .join(namespaces, namespaces.c.namespace_id == event_groups.c.namespace_id)
    .where(namespaces.c.name == bindparam("namespace"))
    .order_by(event_groups.c.name)
    .limit(GROUPS_MAX)
)
_REMOVE: Final = delete(event_groups).where(event_groups.c.group_id == bindparam("group"))
WAITING: Final = select(
    event_groups.c.position,
    event_groups.c.audience,
    select(func.min(event_leases.c.until))
    .where(event_leases.c.group_id == event_groups.c.group_id)
    .scalar_subquery()
    .label("until"),
    select(func.max(event_leases.c.until))
    .where(event_leases.c.group_id == event_groups.c.group_id)
    .scalar_subquery()
    .label("latest"),
    event_groups.c.seen,
    DatabaseNow().label("now"),
).where(event_groups.c.group_id == bindparam("group"))
_LEASED: Final = (
    select(event_leases.c.sequence, event_leases.c.until, ASKED_ONCE.label("now"))
    .where(event_leases.c.group_id == bindparam("group"))
    .order_by(event_leases.c.sequence)
    .limit(LEASED_MAX)
)
_WINDOW: Final[Select[Any]] = (
    select(
        events.c.sequence,
        events.c.namespace,
        events.c.repository,
        events.c.kind,
        events.c.at,
        func.coalesce(namespaces.c.created, 0.0).label("begun"),
    )
    .select_from(events.outerjoin(namespaces, namespaces.c.name == events.c.namespace))
    .where(events.c.sequence > bindparam("after"), events.c.sequence > PRUNED)
    .order_by(events.c.sequence)
    .limit(WINDOW)
)
_PASSED: Final = _WINDOW.limit(PASSED_MAX)
_FIRST: Final = select(func.min(events.c.sequence)).where(events.c.sequence > PRUNED)
_READ: Final = select(events).where(events.c.sequence.in_(_THESE)).order_by(events.c.sequence)
_LEASE: Final = insert_or_update(event_leases, ["until"])
_ENDS: Final = select((DatabaseNow() + bindparam("seconds", type_=Double())).label("until"))
_DROP: Final = delete(event_leases).where(
    event_leases.c.group_id == bindparam("group"), event_leases.c.sequence.in_(_THESE)
)
_DROP_OF_IDS: Final = delete(event_leases).where(
    event_leases.c.group_id == bindparam("group"),
    event_leases.c.sequence.in_(
        select(events.c.sequence).where(events.c.event_id.in_(bindparam("ids", expanding=True)))
    ),
)
_ADVANCE: Final = (
    update(event_groups)
    .where(event_groups.c.group_id == bindparam("group"))
    .values(position=bindparam("to"), seen=DatabaseNow())
)


@dataclass(frozen=True, slots=True)
class EventGroup:
    """A group. `position` is up to where events were given out; times in seconds since 1970."""

    name: str
    position: int
    created: float
    seen: float
    audience: Audience = Audience.OWNER


@dataclass(frozen=True, slots=True)
class Given:
    """What a consumer was given."""

    events: list[Recorded]
    gap: bool = False
    """Whether some that it would have been given are kept no more."""


class EventGroups:
    """The groups of all namespaces."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def ensure(
        self, namespace: str, name: str, *, position: int, audience: Audience = Audience.OWNER
    ) -> int:
        """Return the id of a group, which is made if it is not there, and then begins after this.

        `audience` is who asks. Raises Forbidden when it is an owner's and a maintainer asks,
        NamespaceUnknown when the namespace is nobody's, and TooMany when it has `GROUPS_MAX`.
        """
        named = {"namespace": namespace, "name": name}
        row = await self._connections.row(_NAMED, named)
        if row is not None:
            return _opened(row, name, audience)

        def work(connection: Connection) -> int:
            hold_owner(connection, namespace)
            connection.execute(_MAKE_NAMESPACE.on(connection), {"name": namespace})
            row_id = connection.execute(_NAMESPACE_ID, named).scalar_one()
            if connection.execute(_COUNT, {"namespace_id": row_id}).scalar_one() >= GROUPS_MAX:
                raise TooMany(f"{namespace} has {GROUPS_MAX} groups: remove one")
            made = {"namespace_id": row_id, "name": name, "position": position}
            connection.execute(_MAKE.on(connection), {**made, "audience": audience.value})
            return _opened(connection.execute(_NAMED, named).one(), name, audience)

        return await self._connections.write(work)

    async def list(self, namespace: str) -> list[EventGroup]:
        """Return the groups of a namespace, by name."""
        rows = await self._connections.rows(LIST, {"namespace": namespace})
        return [
            EventGroup(row.name, row.position, row.created, row.seen, _audience(row))
            for row in rows
        ]

    async def remove(self, namespace: str, name: str, audience: Audience = Audience.OWNER) -> None:
        """Remove a group, with what it has not acknowledged; raises NameUnknown, Forbidden."""
        group_id = await self._id(namespace, name, audience)
        await self._connections.change(_REMOVE, {"group": group_id})

    async def give(
        self, group_id: int, namespace: str, limit: int, *, lease_seconds: float = LEASE_SECONDS
    ) -> Given:
        """Give up to `limit` events, and `GIVEN_AT_ONCE_MAX`, to whoever asks; perhaps none.

        Whose lease is over comes first. Writes nothing while nothing waits, and little while what
        happens is of other namespaces. Raises NameUnknown
        when the group was removed.
        """
        if not await self._waits(group_id, namespace):
            return Given([])
        at_most = min(limit, GIVEN_AT_ONCE_MAX)

        def work(connection: Connection) -> Given:
            held = connection.execute(_HOLD, {"group": group_id}).one_or_none()
            if held is None:
                raise _unknown()
            position = held.position
            leased = connection.execute(_LEASED, {"group": group_id}).all()
            again = [row.sequence for row in leased if _is_over(row.until, row.now)][:at_most]
            room = 0 if len(leased) >= LEASED_MAX else at_most - len(again)
            new, to = _new(connection, position, namespace, _audience(held), room)
            rows = connection.execute(_READ, {"these": [*again, *new]}).all()
            gone = {*again} - {row.sequence for row in rows}
            first = connection.execute(_FIRST).scalar_one()
            if gone:
                connection.execute(_DROP, {"group": group_id, "these": sorted(gone)})
            _lease(connection, group_id, [row.sequence for row in rows], lease_seconds)
            connection.execute(_ADVANCE, {"group": group_id, "to": to})
            pruned = position > 0 and first is not None and first > position + 1
            return Given([event_of(row) for row in rows], gap=bool(gone) or pruned)

        return await self._connections.write(work)

    async def acknowledge(
        self,
        namespace: str,
        name: str,
        sequences: Collection[int],
        *,
        ids: Collection[str] = (),
        audience: Audience = Audience.OWNER,
    ) -> int:
        """Forget what the group was given; return how many of these it still had.

        Events are named by their numbers, or by their ids, which are never another event's. Raises
        NameUnknown without such a group, and Forbidden. Twice is once.
        """
        group_id = await self._id(namespace, name, audience)

        def work(connection: Connection) -> int:
            of_group = {"group": group_id}
            done = 0
            if sequences:
                done += changed(connection, _DROP, {**of_group, "these": sorted({*sequences})})
            if ids:
                done += changed(connection, _DROP_OF_IDS, {**of_group, "ids": sorted({*ids})})
            return done

        return await self._connections.write(work)

    async def _id(self, namespace: str, name: str, audience: Audience) -> int:
        row = await self._connections.row(_NAMED, {"namespace": namespace, "name": name})
        if row is None:
            raise _unknown()
        return _opened(row, name, audience)

    async def _waits(self, group_id: int, namespace: str) -> bool:
        """Say whether something may be given, or passed, without a lock; raises NameUnknown."""
        row = await self._connections.row(WAITING, {"group": group_id})
        if row is None:
            raise _unknown()
        if any(_is_over(until, row.now) for until in (row.until, row.latest) if until is not None):
            return True
        ahead = await self._connections.rows(_PASSED, {"after": row.position})
        if any(_is_for(each, namespace, _audience(row)) for each in ahead):
            return True
        is_time = abs(row.now - row.seen) >= PASSED_SECONDS
        return len(ahead) == PASSED_MAX or (bool(ahead) and is_time)


def _new(
    connection: Connection, position: int, namespace: str, audience: Audience, room: int
) -> tuple[Sequence[int], int]:
    """Return which events follow that are for the group, and up to where that is looked at."""
    if room == 0:
        return [], position
    found: list[int] = []
    for row in connection.execute(_WINDOW, {"after": position}).all():
        position = row.sequence
        if _is_for(row, namespace, audience):
            found.append(row.sequence)
            if len(found) == room:
                break
    return found, position


def _lease(connection: Connection, group_id: int, sequences: Sequence[int], seconds: float) -> None:
    if not sequences:
        return
    until = connection.execute(_ENDS, {"seconds": seconds}).scalar_one()
    rows = [{"group_id": group_id, "sequence": each, "until": until} for each in sequences]
    connection.execute(_LEASE.on(connection), rows)


def _is_over(until: float, now: float) -> bool:
    """Say whether a lease has ended, whatever the clock has done since it was given."""
    return until <= now or until > now + LEASE_SECONDS_MAX


def _is_for(row: Row[Any], namespace: str, audience: Audience) -> bool:
    """Say whether an event is given to a group of that namespace: not of one that was before it."""
    if row.namespace != namespace or row.at < row.begun:
        return False
    is_told = row.repository is not None or row.kind.startswith(_OF_HOOKS)
    return audience is Audience.OWNER or is_told


def _audience(row: Row[Any]) -> Audience:
    """Return whose a group is; one of a later version is as the least."""
    return Audience.OWNER if row.audience == Audience.OWNER else Audience.MAINTAINER


def _opened(row: Row[Any], name: str, audience: Audience) -> int:
    """Return the id of a group for who asks; raises Forbidden."""
    if audience is Audience.MAINTAINER and _audience(row) is Audience.OWNER:
        raise Forbidden(f"the group {name} is an owner's, and is given more: take another name")
    return int(row.group_id)


def _unknown() -> NameUnknown:
    return NameUnknown("no such group: it is made when its first consumer asks for events")
