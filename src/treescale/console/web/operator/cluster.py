"""The cluster's page: whether all is whole, in words first; then everything that says so."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treescale.console.route import GET
from treescale.console.watch.rows import ClusterNow, HappenedNow, PartitionsNow
from treescale.console.web.operator.drawing import grid
from treescale.console.web.operator.following import following
from treescale.console.web.page import Live, Page, Part, Visit
from treescale.console.web.texts import TEXTS
from treescale.metadata.events.recording import actor_of_server

NOW: Final = "/cluster/now"
JOBS_SHOWN_MAX: Final = 10
_PAYLOAD_SHOWN: Final = ("name", "server", "path", "trouble", "number", "state", "read_only")
"""Of an event, in this order."""


class ClusterPages:
    """What answers for the cluster. Who looks on has the same parts made once."""

    def __init__(self) -> None:
        self._made: tuple[ClusterNow, Sequence[Part]] | None = None

    async def show(self, visit: Visit) -> Page:
        """Show all of it."""
        now = await visit.api(GET, NOW)
        values: dict[str, Any] = {"now": now}
        for part in self._parts(now):
            values |= part.values
        return Page("operator/cluster.html", values)

    async def live(self, visit: Visit) -> Live:
        """Show it as it changes."""

        async def look() -> Sequence[Part]:
            return self._parts(await visit.api(GET, NOW))

        await look()  # what keeps somebody out is an answer, and no stream
        return Live(following(look))

    def _parts(self, now: ClusterNow) -> Sequence[Part]:
        if self._made is None or self._made[0] is not now:
            before = {} if self._made is None else {one.element: one for one in self._made[1]}
            parts = [
                Part(f"cluster-{name}", f"operator/cluster_{name}.html", values)
                for name, values in _sections(now).items()
            ]
            # A part that is no other stays the very same: it is drawn once for all who look.
            self._made = now, [_same(before.get(one.element), one) for one in parts]
        return self._made[1]


def _same(before: Part | None, part: Part) -> Part:
    return before if before is not None and before == part else part


def _sections(now: ClusterNow) -> Mapping[str, Mapping[str, Any]]:
    """Return what each shows, and nothing more: it is drawn anew when any of that changes."""
    servers = {actor_of_server(one.server_id): one.name for one in now.servers}
    return {
        "verdict": {
            "is_whole": now.is_whole,
            "told": now.text,
            "broken_since": now.broken_since,
            "mended_at": now.mended_at,
            "next_stop": now.next_stop,
            "advice": now.advice,
            "seen_by": now.seen_by,
        },
        "servers": {"servers": now.servers},
        "strip": strip_values(now.partitions),
        "stores": {"stores": now.stores, "collection_paused": now.collection_paused},
        "jobs": {"jobs": now.jobs[:JOBS_SHOWN_MAX]},
        "lost": {"lost": now.lost, "lost_chunks": now.lost_chunks},
        "events": {"events": [_event(one, servers) for one in now.events]},
    }


def strip_values(partitions: PartitionsNow | None) -> Mapping[str, Any]:
    """Return the picture of all partitions, and the same as a table."""
    if partitions is None:
        return {"kinds": [], "paths": []}
    kinds = [
        {
            "name": _kind(copies, partitions.copies),
            "text": _kind_text(copies, partitions.copies),
            "count": count,
        }
        for copies, count in reversed([*enumerate(partitions.counts)])
    ]
    paths = [
        {"name": _kind(copies, partitions.copies), "path": path}
        for copies, path in grid(partitions.runs).items()
    ]
    return {"kinds": kinds, "paths": paths}


def _kind(copies: int, wanted: int) -> str:
    return "whole" if copies >= wanted else "fewer" if copies else "none"


def _kind_text(copies: int, wanted: int) -> str:
    if copies >= wanted:
        return TEXTS["operator_all_copies"].format(copies=wanted)
    if copies == 0:
        return TEXTS["operator_no_copy"]
    return TEXTS["operator_one_copy" if copies == 1 else "operator_some_copies"].format(
        copies=copies
    )


def _event(event: HappenedNow, servers: Mapping[str, str]) -> Mapping[str, Any]:
    about = [event.payload.get(key) for key in _PAYLOAD_SHOWN]
    return {
        "at": event.at,
        "kind": event.kind,
        "actor": servers.get(event.actor, event.actor),
        "told": " · ".join(str(one) for one in about if one is not None),
    }
