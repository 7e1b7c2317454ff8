"""How far the log is told, and what waits to be: for whoever watches over the cluster."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ScalarSelect, bindparam, func, literal_column, select

from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.hook_records import DeliveryState, HookState
from treescale.metadata.events.log import LAST
from treescale.metadata.events.positions import POSITION
from treescale.metadata.schema import counters, deliveries, event_groups, events, hooks

COUNTED_MAX: Final = 100_000
"""What waits is counted so far: a page must not wait for long."""


@dataclass(frozen=True, slots=True)
class EventFigures:
    """The log and its webhooks in figures, at one moment."""

    newest: int = 0
    """The number of the newest event."""
    waiting: int = 0
    """Committed events that have no number yet, up to `COUNTED_MAX`."""
    hooks_enabled: int = 0
    hooks_disabled: int = 0
    deliveries_waiting: int = 0
    """Of enabled hooks, up to `COUNTED_MAX`."""
    oldest_seconds: float = 0.0
    """The age of the oldest of these; 0 without any."""
    read: int = 0
    """Up to where the reader that was asked for has come."""
    groups: int = 0
    """Groups of consumers, of all namespaces."""
    groups_read: int | None = None
    """Up to where the last of them has been given events; None without any."""


_SENDABLE: Final = (
    select(deliveries.c.created)
    .join(hooks, hooks.c.hook_id == deliveries.c.hook_id)
    .where(
        # As the index of what waits has it: a bound value is none that SQLite could know.
        deliveries.c.state == literal_column(f"'{DeliveryState.WAITING.value}'"),
        hooks.c.state == HookState.ENABLED.value,
    )
)
_of_events = select(events.c.event_id).where(events.c.sequence.is_(None)).limit(COUNTED_MAX)
_of_hooks = _SENDABLE.limit(COUNTED_MAX)
_OLDEST: Final = select(DatabaseNow() - func.min(_SENDABLE.subquery().c.created))


def _hooks_that_are(state: HookState) -> ScalarSelect[int]:
    found = select(func.count()).select_from(hooks).where(hooks.c.state == state.value)
    return found.scalar_subquery()


_FIGURES: Final = select(
    LAST.scalar_subquery().label("newest"),
    select(func.count()).select_from(_of_events.subquery()).scalar_subquery().label("waiting"),
    _hooks_that_are(HookState.ENABLED).label("enabled"),
    _hooks_that_are(HookState.DISABLED).label("disabled"),
    select(func.count()).select_from(_of_hooks.subquery()).scalar_subquery().label("unsent"),
    _OLDEST.scalar_subquery().label("oldest"),
    select(counters.c.value)
    .where(counters.c.name == bindparam("reader"))
    .scalar_subquery()
    .label("read"),
    select(func.count()).select_from(event_groups).scalar_subquery().label("groups"),
    select(func.min(event_groups.c.position)).scalar_subquery().label("groups_read"),
)


async def event_figures(connections: Connections, reader: str) -> EventFigures:
    """Return them, with how far this reader of `Positions` has come; one statement."""
    row = await connections.row(_FIGURES, {"reader": POSITION + reader})
    if row is None:
        return EventFigures()
    return EventFigures(
        newest=row.newest,
        waiting=row.waiting,
        hooks_enabled=row.enabled,
        hooks_disabled=row.disabled,
        deliveries_waiting=row.unsent,
        oldest_seconds=max(0.0, float(row.oldest or 0.0)),
        read=row.read or 0,
        groups=row.groups,
        groups_read=row.groups_read,
    )
