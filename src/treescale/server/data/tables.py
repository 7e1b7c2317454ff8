"""The placement tables of the layouts in use: each is built once, and never in an event loop.

A table of 150 stores takes about a second of a processor. What is needed at the start is built
before the workers are forked, which then share its memory; what comes later each worker builds in
a thread, and goes on with what it has until that is ready. A build that is not waited for any more
goes on, and is there the next time.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from types import MappingProxyType

from treescale.chunks.format.placement import Layout, Table, build_table
from treescale.cluster.layout import layout_of, readable_layouts
from treescale.metadata.records import LayoutRecord

_NONE: Mapping[int, Table] = MappingProxyType({})


def in_use(records: Sequence[LayoutRecord], existing: Collection[str]) -> list[Layout]:
    """Return the layouts by which chunks are placed or searched for, the one in force first.

    `records` are newest first, `existing` the ids of the stores there are.
    """
    layouts = [layout_of(record) for record in records]
    return [
        *layouts[:1],
        *(one for one in readable_layouts(layouts, existing) if one != layouts[0]),
    ]


class Tables:
    """The tables of one process. `known` are those that were built before, by number."""

    def __init__(self, known: Mapping[int, Table] = _NONE) -> None:
        self._known = dict(known)
        self._building: dict[int, Future[Table]] = {}

    def build(self, layouts: Iterable[Layout]) -> Mapping[int, Table]:
        """Build them here and now; return all. For who serves nobody yet."""
        for layout in layouts:
            if not self._has(layout):
                self._known[layout.number] = build_table(layout)
        return self._known

    async def of(self, layouts: Sequence[Layout], threads: Executor) -> list[Table]:
        """Return them in this order, those that are new built in a thread; forget all others."""
        for layout in layouts:
            if not self._has(layout):
                self._known[layout.number] = await self._built(layout, threads)
        self._known = {one.number: self._known[one.number] for one in layouts}
        return list(self._known.values())

    def _has(self, layout: Layout) -> bool:
        known = self._known.get(layout.number)
        return known is not None and known.layout == layout

    async def _built(self, layout: Layout, threads: Executor) -> Table:
        building = self._building.get(layout.number)
        if building is None:
            building = self._building[layout.number] = threads.submit(build_table, layout)
        try:
            return await asyncio.shield(asyncio.wrap_future(building))
        finally:
            if building.done():
                self._building.pop(layout.number, None)
