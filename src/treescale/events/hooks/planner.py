"""Which events a hook is told of, and what is stored for them. Pure."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from treescale.events.hooks.formats import PUSHES, message
from treescale.events.hooks.message import Told
from treescale.metadata.events.hook_records import ALL, PING, Hook, NewDelivery
from treescale.metadata.events.recorded import Recorded

DEFAULT_KINDS: Final = ("image.pushed", "tag.moved")
_EVENT: Final = msgspec.json.Decoder(Recorded)


def is_in_scope(hook: Hook, event: Recorded) -> bool:
    """Return whether the hook may hear of the event: one of its namespace, and of its glob.

    What is of no namespace is the cluster's, and for hooks of everything alone.
    """
    if hook.namespace is None:
        return hook.scope == ALL or _is_of(hook.scope, event)
    return event.namespace == hook.namespace and _is_of(hook.scope, event)


def is_wanted(hook: Hook, event: Recorded) -> bool:
    """Return whether it is to be told of the event: in its scope, of its kinds, and sayable."""
    told = Told(event, hook.public_url)
    return (
        is_in_scope(hook, event)
        and (hook.untagged or bool(told.tag) or event.kind not in PUSHES)
        and any(fnmatchcase(event.kind, glob) for glob in hook.kinds)
        and message(hook.format, told, hook.template) is not None
    )


def plan(hook: Hook, events: Iterable[Recorded]) -> Iterator[NewDelivery]:
    """Yield what is to be stored for those of the events that the hook is told of, in order."""
    for event in events:
        if is_wanted(hook, event):
            yield planned(event, settle=hook.settle)


def planned(event: Recorded, *, settle: float = 0.0) -> NewDelivery:
    """Return what is stored for one event."""
    return NewDelivery(
        event.event_id,
        event.kind,
        event.repository or "",
        msgspec.json.encode(event).decode(),
        wait=settle,
        merges=settle > 0 and event.repository is not None,
    )


def stored_event(text: str) -> Recorded:
    """Return the event that a delivery keeps."""
    return _EVENT.decode(text)


def ping_of(hook: Hook, event_id: str, at: float, actor: str) -> Recorded:
    """Return what a test of a hook sends; it is in no log, and its sequence is the hook's place."""
    return Recorded(hook.sequence, event_id, PING, at, actor, namespace=hook.namespace)


def _is_of(scope: str, event: Recorded) -> bool:
    """Return whether an event is of a namespace, or of a repository that matches."""
    if "/" not in scope:
        return event.namespace == scope
    return event.repository is not None and fnmatchcase(event.repository, scope)
