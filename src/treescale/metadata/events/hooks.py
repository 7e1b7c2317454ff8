"""Webhooks and their deliveries: rows, and which of them are due.

A hook has its own place in the log. What it is told of is planned in one transaction with that
place, so that each event is planned once, whoever plans. All times are the database's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Double,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import HookUnknown, TooMany
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import ASKED_ONCE, DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.hook_records import (
    PING,
    Delivery,
    DeliveryState,
    Hook,
    HookFormat,
    HookState,
    NewDelivery,
    Outcome,
)
from treescale.metadata.events.owners import hold_owner
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.schema import deliveries, hooks, users

WAIT_SECONDS_MAX: Final = 2 * 3600.0
"""Longer than any delivery waits by itself: one that seems to is from before the database's clock
was set back."""
_WAITS: Final = deliveries.c.state == DeliveryState.WAITING.value
_NOT_SENT: Final = deliveries.c.attempt == 0
_THIS: Final = hooks.c.hook_id == bindparam("this")
_OF_HOOK: Final = deliveries.c.hook_id == bindparam("hook")

_KNOWN: Final = hooks.c.format.in_([each.value for each in HookFormat])
"""What a later version has other formats for is its own to look after."""
GET: Final = select(hooks).where(_THIS, _KNOWN)
LIST: Final = (
    select(hooks)
    .where(hooks.c.hook_id > bindparam("after"), _KNOWN)
    .order_by(hooks.c.hook_id)
    .limit(bindparam("limit"))
)
LIST_OF: Final = LIST.where(hooks.c.namespace.in_(bindparam("namespaces", expanding=True)))
_IS_ASKED: Final = and_(
    hooks.c.state == HookState.ENABLED.value,
    ~exists(
        select(users.c.name).where(
            users.c.name == hooks.c.namespace, users.c.suspended.is_not(None)
        )
    ),
)
"""Of the namespace of a suspended user nothing counts; what happens there waits in the log."""
ENABLED: Final = ahead(LIST.where(_IS_ASKED), "after limit")
READ_AT_ONCE: Final = 200
"""Hooks: of thousands the rest of a process would wait for as long as it takes to read them."""
_ADD: Final = insert(hooks)
_REMOVE: Final = delete(hooks).where(_THIS)
_SET_STATE: Final = (
    update(hooks)
    .where(_THIS, hooks.c.state != bindparam("new_state"))
    .values(state=bindparam("new_state"), reason=bindparam("new_reason"), failing_since=None)
)
_SKIP: Final = (
    update(hooks)
    .where(_THIS, hooks.c.sequence < bindparam("new_sequence"))
    .values(sequence=bindparam("new_sequence"))
)
_ROTATE: Final = (
    update(hooks)
    .where(_THIS)
    .values(
        old_secret=hooks.c.secret,
        old_secret_until=DatabaseNow() + bindparam("seconds", type_=Double()),
        secret=bindparam("new_secret"),
    )
)
_FAILS: Final = (
    update(hooks).where(_THIS, hooks.c.failing_since.is_(None)).values(failing_since=DatabaseNow())
)
_TAKEN: Final = (
    update(hooks).where(_THIS, hooks.c.failing_since.is_not(None)).values(failing_since=None)
)
_ADVANCE: Final = (
    update(hooks)
    .where(_THIS, hooks.c.sequence == bindparam("old_sequence"), _IS_ASKED)
    .values(sequence=bindparam("new_sequence"))
)
_PASS: Final = (
    update(hooks)
    .where(
        hooks.c.hook_id.in_(bindparam("those", expanding=True)),
        hooks.c.sequence < bindparam("new_sequence"),
        _IS_ASKED,
    )
    .values(sequence=bindparam("new_sequence"))
)
_BURST: Final = select(func.min(deliveries.c.created)).where(
    _OF_HOOK, _WAITS, _NOT_SENT, deliveries.c.repository == bindparam("repository")
)
_MERGE: Final = (
    update(deliveries)
    .where(
        _OF_HOOK,
        _WAITS,
        _NOT_SENT,
        deliveries.c.repository == bindparam("the_repository"),
        deliveries.c.delivery_id.not_in(bindparam("in_flight", expanding=True)),
    )
    .values(state=DeliveryState.MERGED.value, updated=DatabaseNow())
)
_PLAN: Final = insert(deliveries)
# The first of each repository that keeps those after it: one look at what waits, however much.
_ahead = deliveries.alias("ahead")
_AHEAD: Final = (
    select(_ahead.c.repository, func.min(_ahead.c.delivery_id).label("first"))
    .where(
        _ahead.c.hook_id == bindparam("hook"),
        _ahead.c.state == DeliveryState.WAITING.value,
        or_(
            _ahead.c.attempt == 0,  # it is tried at once, and only waits for its turn
            _ahead.c.created.between(
                ASKED_ONCE - bindparam("held_back", type_=Double()),
                ASKED_ONCE + bindparam("held_back", type_=Double()),
            ),
        ),
    )
    .group_by(_ahead.c.repository)
    .cte("keeping")
)
_DUE: Final = deliveries.c.next_at <= ASKED_ONCE
_IS_PING: Final = deliveries.c.kind == PING
_SET_BACK: Final = deliveries.c.next_at > ASKED_ONCE + WAIT_SECONDS_MAX


def _has(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a hook has a delivery like this that waits."""
    return exists(
        select(deliveries.c.delivery_id).where(
            deliveries.c.hook_id == hooks.c.hook_id, _WAITS, which
        )
    )


DUE_HOOKS: Final = select(hooks.c.hook_id).where(_IS_ASKED, or_(_has(_DUE), _has(_SET_BACK)))
DUE: Final = (
    select(deliveries, (ASKED_ONCE - deliveries.c.created).label("waited"))
    .select_from(deliveries.outerjoin(_AHEAD, _AHEAD.c.repository == deliveries.c.repository))
    .where(
        _OF_HOOK,
        _WAITS,
        or_(_DUE, _SET_BACK),
        deliveries.c.delivery_id.not_in(bindparam("in_flight", expanding=True)),
        or_(_IS_PING, _AHEAD.c.first.is_(None), deliveries.c.delivery_id <= _AHEAD.c.first),
    )
    .order_by(_IS_PING.desc(), deliveries.c.delivery_id)
    .limit(bindparam("limit"))
)
_TRIED: Final = (
    update(deliveries)
    .where(deliveries.c.delivery_id == bindparam("delivery"), _WAITS)
    .values(
        state=bindparam("new_state"),
        attempt=deliveries.c.attempt + 1,
        next_at=DatabaseNow() + bindparam("pause", type_=Double()),
        updated=DatabaseNow(),
        status=bindparam("new_status"),
        answer=bindparam("new_answer"),
        seconds=bindparam("new_seconds"),
    )
)
GET_DELIVERY: Final = select(deliveries).where(deliveries.c.delivery_id == bindparam("this"))
HISTORY: Final = (
    select(deliveries)
    .where(_OF_HOOK)
    .order_by(deliveries.c.delivery_id.desc())
    .limit(bindparam("limit"))
)
_OLD: Final = (
    select(deliveries.c.delivery_id)
    .where(deliveries.c.created < ASKED_ONCE - bindparam("age", type_=Double()), ~_WAITS)
    .limit(bindparam("limit"))
)
_LAST_KEPT: Final = (
    select(deliveries.c.delivery_id)
    .where(_OF_HOOK)
    .order_by(deliveries.c.delivery_id.desc())
    .offset(bindparam("kept"))
    .limit(1)
)
_SURPLUS: Final = (
    select(deliveries.c.delivery_id)
    .where(_OF_HOOK, ~_WAITS, deliveries.c.delivery_id <= bindparam("newest"))
    .limit(bindparam("limit"))
)
_PRUNE: Final = delete(deliveries).where(
    deliveries.c.delivery_id.in_(bindparam("these", expanding=True))
)
_COUNT: Final = (
    select(func.count())
    .select_from(hooks)
    .where(hooks.c.namespace.is_not_distinct_from(bindparam("of_namespace")))
)
_WAITING_AT: Final = (
    select(deliveries.c.delivery_id).where(_OF_HOOK, _WAITS).offset(bindparam("many")).limit(1)
)
WAITING_MAX: Final = 10_000
"""Of a hook: what waits is a row each, and of a receiver that is away it waits for a day."""
NONE_IN_FLIGHT: Final = (0,)
"""No delivery has this id: an empty list is another statement to some databases."""


class Hooks:
    """Webhooks, and what is sent to them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, hook: Hook, *, actor: str) -> None:
        """Keep a new one, with the time at which it came to be.

        Raises NamespaceUnknown when its namespace is nobody's, or is being removed.
        """
        row = {
            "hook_id": hook.hook_id,
            "namespace": hook.namespace,
            "scope": hook.scope,
            "url": hook.url,
            "format": hook.format.value,
            "kinds": ",".join(hook.kinds),
            "untagged": hook.untagged,
            "headers": msgspec.json.encode(hook.headers).decode(),
            "template": hook.template,
            "settle": hook.settle,
            "secret": hook.secret,
            "old_secret": "",
            "old_secret_until": 0.0,
            "public_url": hook.public_url,
            "state": HookState.ENABLED.value,
            "reason": "",
            "sequence": hook.sequence,
            "actor": actor,
        }

        def work(connection: Connection) -> None:
            if hook.namespace is not None:
                hold_owner(connection, hook.namespace)
            connection.execute(_ADD.values(created=DatabaseNow()), row)
            record(connection, _of(Kind.HOOK_ADDED, actor, hook))

        await self._connections.write(work)

    async def count(self, namespace: str | None) -> int:
        """Return how many a namespace has; None: how many are of none."""
        row = await self._connections.row(_COUNT, {"of_namespace": namespace})
        return 0 if row is None else int(row[0])

    async def get(self, hook_id: str) -> Hook:
        """Return it; raises HookUnknown."""
        # PostgreSQL takes no NUL as text.
        row = None if "\0" in hook_id else await self._connections.row(GET, {"this": hook_id})
        if row is None:
            raise unknown(hook_id)
        return _hook(row)

    async def page(self, namespaces: Collection[str] | None, after: str, limit: int) -> list[Hook]:
        """Return a page by id, of these namespaces, or of all there are."""
        page: dict[str, object] = {"after": after, "limit": limit}
        if namespaces is None:
            return [_hook(row) for row in await self._connections.rows(LIST, page)]
        page["namespaces"] = sorted(namespaces)
        return [_hook(row) for row in await self._connections.rows(LIST_OF, page)]

    async def enabled(self) -> list[Hook]:
        """Return those that are asked, by id."""
        found: list[Hook] = []
        is_last = False
        while not is_last:
            after = found[-1].hook_id if found else ""
            page = {"after": after, "limit": READ_AT_ONCE}
            rows = await self._connections.rows(ENABLED, page)
            found += map(_hook, rows)
            is_last = len(rows) < READ_AT_ONCE
        return found

    async def remove(self, hook_id: str, *, actor: str) -> None:
        """Remove it and its deliveries; raises HookUnknown."""

        def work(connection: Connection) -> None:
            hook = _held(connection, hook_id)
            connection.execute(_REMOVE, {"this": hook_id})
            record(connection, _of(Kind.HOOK_REMOVED, actor, hook))

        await self._connections.write(work)

    async def enable(self, hook_id: str, *, skip_to: int, actor: str) -> None:
        """Have it asked again: of what waits still, and of events after `skip_to`.

        Nothing changes for one that is enabled. Raises HookUnknown.
        """

        def work(connection: Connection) -> None:
            hook = _held(connection, hook_id)
            given = {"this": hook_id, "new_state": HookState.ENABLED.value, "new_reason": ""}
            if changed(connection, _SET_STATE, given):
                connection.execute(_SKIP, {"this": hook_id, "new_sequence": skip_to})
                record(connection, _of(Kind.HOOK_ENABLED, actor, hook))

        await self._connections.write(work)

    async def disable(self, hook_id: str, reason: str, *, actor: str) -> None:
        """Have it not asked any more; what waits goes on waiting. Raises HookUnknown."""

        def work(connection: Connection) -> None:
            _disable(connection, _held(connection, hook_id), reason, actor)

        await self._connections.write(work)

    async def rotate(self, hook_id: str, secret: str, seconds: float, *, actor: str) -> None:
        """Sign with another secret, for so long with the one before too; raises HookUnknown."""

        def work(connection: Connection) -> None:
            hook = _held(connection, hook_id)
            given = {"this": hook_id, "new_secret": secret, "seconds": seconds}
            connection.execute(_ROTATE, given)
            record(connection, _of(Kind.HOOK_ROTATED, actor, hook))

        await self._connections.write(work)

    async def plan(
        self,
        hook: Hook,
        planned: Sequence[NewDelivery],
        sequence: int,
        *,
        wait: Callable[[float, float], float],
        in_flight: Iterable[int] = (),
    ) -> bool:
        """Store deliveries, and that all events up to `sequence` are planned.

        False, and nothing changes, when somebody else has planned since the hook was read, or it
        was removed or disabled. `wait` says, from a delivery's own wait and the age of the burst
        that it belongs to, how long it waits. None that is `in_flight` is merged.
        """
        flying = [*NONE_IN_FLIGHT, *in_flight]

        def work(connection: Connection) -> bool:
            step = {
                "this": hook.hook_id,
                "old_sequence": hook.sequence,
                "new_sequence": sequence,
            }
            if not changed(connection, _ADVANCE, step):
                return False
            for one in planned:
                _store(connection, hook.hook_id, one, wait, flying)
            return True

        return await self._connections.write(work)

    async def pass_by(self, those: Collection[str], sequence: int) -> None:
        """Note that these hooks are told of no event up to `sequence`."""
        given = {"those": [*those], "new_sequence": sequence}
        await self._connections.change(_PASS, given, durable=False)

    async def send(self, hook_id: str, one: NewDelivery) -> int:
        """Store a delivery that is of no plan: a ping, or one more of what was sent before.

        Returns its id. Raises HookUnknown, and TooMany when `WAITING_MAX` wait.
        """

        def work(connection: Connection) -> int:
            _held(connection, hook_id)
            full = {"hook": hook_id, "many": WAITING_MAX - 1}
            if connection.execute(_WAITING_AT, full).first() is not None:
                raise TooMany(f"{WAITING_MAX} deliveries wait already for this webhook")
            return _store(connection, hook_id, one, lambda own, _: own, [])

        return await self._connections.write(work)

    async def is_full(self, hook_id: str, most: int = WAITING_MAX) -> bool:
        """Say whether so many deliveries wait."""
        full = {"hook": hook_id, "many": most - 1}
        return await self._connections.row(_WAITING_AT, full) is not None

    async def due_hooks(self) -> list[str]:
        """Return the enabled hooks of which something is due."""
        return [row.hook_id for row in await self._connections.rows(DUE_HOOKS)]

    async def due(
        self, hook_id: str, limit: int, *, held_back: float, in_flight: Iterable[int] = ()
    ) -> list[tuple[Delivery, float]]:
        """Return what may be sent of a hook now, the earliest first, and how long each has waited.

        Pings before all else. Not one of which an earlier one of its repository waits, unless that
        has failed already and is `held_back` seconds old; nor what is in flight.
        """
        given = {
            "hook": hook_id,
            "limit": limit,
            "held_back": held_back,
            "in_flight": [*NONE_IN_FLIGHT, *in_flight],
        }
        rows = await self._connections.rows(DUE, given)
        return [(_delivery(row), float(row.waited)) for row in rows]

    async def tried(self, delivery: Delivery, outcome: Outcome, *, actor: str) -> None:
        """Note what an attempt led to, and what that means for its hook; one removed is passed."""

        def work(connection: Connection) -> None:
            given = {
                "delivery": delivery.delivery_id,
                "new_state": outcome.state.value,
                "pause": outcome.pause,
                "new_status": outcome.status,
                "new_answer": outcome.answer,
                "new_seconds": outcome.seconds,
            }
            if not changed(connection, _TRIED, given):
                return
            taken = outcome.state is DeliveryState.DELIVERED
            if taken or delivery.kind != PING:
                connection.execute(_TAKEN if taken else _FAILS, {"this": delivery.hook_id})
            if outcome.disable:
                _disable(connection, _held(connection, delivery.hook_id), outcome.disable, actor)

        await self._connections.write(work)

    async def delivery(self, delivery_id: int) -> Delivery:
        """Return one; raises HookUnknown."""
        row = await self._connections.row(GET_DELIVERY, {"this": delivery_id})
        if row is None:
            raise unknown_delivery(delivery_id)
        return _delivery(row)

    async def history(self, hook_id: str, limit: int) -> list[Delivery]:
        """Return the newest deliveries of a hook, newest first."""
        rows = await self._connections.rows(HISTORY, {"hook": hook_id, "limit": limit})
        return [_delivery(row) for row in rows]

    async def prune(self, age: float, kept: int, limit: int) -> int:
        """Remove deliveries that are over: older than `age` seconds, or surplus of a hook.

        Returns how many there were: at most `limit` old ones, and so many of each hook; there may
        be more while it is not 0.
        """
        removed, after = await self._remove(_OLD, {"age": age, "limit": limit}), ""
        while page := await self.page(None, after, limit):
            for hook in page:
                given = {"hook": hook.hook_id, "kept": kept, "limit": limit}
                newest = await self._connections.row(_LAST_KEPT, given)
                if newest is not None:
                    removed += await self._remove(_SURPLUS, {**given, "newest": newest[0]})
            after = page[-1].hook_id
        return removed

    async def _remove(self, which: Select[tuple[int]], given: Mapping[str, object]) -> int:
        """Remove the deliveries that a query finds; return how many."""
        found = [row[0] for row in await self._connections.rows(which, given)]
        if not found:
            return 0
        return await self._connections.change(_PRUNE, {"these": found}, durable=False)


def unknown(hook_id: str) -> HookUnknown:
    """Return what is raised for a hook that is not there."""
    return HookUnknown(f"no webhook {hook_id[:100]}")


def unknown_delivery(delivery_id: int) -> HookUnknown:
    """Return what is raised for a delivery that is not there."""
    return HookUnknown(f"no delivery {delivery_id}; it may have been pruned")


def _store(
    connection: Connection,
    hook_id: str,
    one: NewDelivery,
    wait: Callable[[float, float], float],
    in_flight: Sequence[int],
) -> int:
    now = float(connection.execute(select(DatabaseNow())).scalar_one())
    begun = now
    if one.merges:
        of = {"hook": hook_id, "repository": one.repository}
        found = connection.execute(_BURST, of).scalar_one_or_none()
        begun = now if found is None else float(found)
        connection.execute(
            _MERGE,
            {"hook": hook_id, "the_repository": one.repository, "in_flight": [*in_flight]},
        )
    row = {
        "hook_id": hook_id,
        "event_id": one.event_id,
        "kind": one.kind,
        "repository": one.repository,
        "event": one.event,
        "state": DeliveryState.WAITING.value,
        "attempt": 0,
        "next_at": now + wait(one.wait, now - begun),
        "created": begun,
        "answer": "",
    }
    stored = connection.execute(_PLAN.returning(deliveries.c.delivery_id), row)
    return int(stored.scalar_one())


def _held(connection: Connection, hook_id: str) -> Hook:
    row = connection.execute(GET.with_for_update(), {"this": hook_id}).one_or_none()
    if row is None:
        raise unknown(hook_id)
    return _hook(row)


def _disable(connection: Connection, hook: Hook, reason: str, actor: str) -> None:
    given = {
        "this": hook.hook_id,
        "new_state": HookState.DISABLED.value,
        "new_reason": reason,
    }
    if changed(connection, _SET_STATE, given):
        record(connection, _of(Kind.HOOK_DISABLED, actor, hook, reason))


def _of(kind: Kind, actor: str, hook: Hook, reason: str = "") -> Event:
    """Return what happened to a hook: nothing of its URL, which may be a secret."""
    payload: dict[str, object] = {
        "hook": hook.hook_id,
        "scope": hook.scope,
        "format": hook.format.value,
    }
    if reason:
        payload["reason"] = reason
    return Event(kind, actor, namespace=hook.namespace, payload=payload)


def _hook(row: Row[Any]) -> Hook:
    return Hook(
        hook_id=row.hook_id,
        namespace=row.namespace,
        scope=row.scope,
        url=row.url,
        format=HookFormat(row.format),
        secret=row.secret,
        public_url=row.public_url,
        kinds=tuple(row.kinds.split(",")),
        headers=tuple(msgspec.json.decode(row.headers, type=list[tuple[str, str]])),
        template=row.template,
        untagged=bool(row.untagged),
        settle=row.settle,
        old_secret=row.old_secret,
        old_secret_until=row.old_secret_until,
        state=HookState(row.state),
        reason=row.reason,
        sequence=row.sequence,
        failing_since=row.failing_since,
        created=row.created,
        actor=row.actor,
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        hook_id=row.hook_id,
        event_id=row.event_id,
        repository=row.repository,
        event=row.event,
        state=DeliveryState(row.state),
        attempt=row.attempt,
        next_at=row.next_at,
        created=row.created,
        kind=row.kind,
        status=row.status,
        answer=row.answer,
        seconds=row.seconds,
        updated=row.updated,
    )
