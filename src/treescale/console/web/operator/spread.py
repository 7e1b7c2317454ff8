"""An image across the cluster: its chunks on each store, and where pulls read them now."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from treescale.console.route import GET, segment
from treescale.console.watch.images import ImageSpread
from treescale.console.web.operator.drawing import marks, row
from treescale.console.web.operator.following import following
from treescale.console.web.page import Live, Page, Part, Visit
from treescale.console.web.texts import TEXTS

STORES_SHOWN_MAX: Final = 64
_CELLS: Final = ("elsewhere", "here", "away", "owed", "lost")


class SpreadPages:
    """What answers for images across the cluster."""

    async def show(self, visit: Visit) -> Page:
        """Show one."""
        found = await _ask(visit)
        parts = _parts(found)
        values: dict[str, Any] = {
            "image": _image(visit),
            "name": visit.parameters["name"],
            "spread": found,
            "base": _path(visit),
        }
        for part in parts:
            values |= part.values
        return Page("operator/spread.html", values)

    async def live(self, visit: Visit) -> Live:
        """Show from where it is pulled, as it is."""

        async def look() -> Sequence[Part]:
            return _parts(await _ask(visit))

        await look()
        return Live(following(look))


def _image(visit: Visit) -> str:
    name, tag = visit.parameters["name"], visit.parameters.get("tag")
    return f"{name}:{tag}" if tag is not None else f"{name}@{visit.parameters['digest']}"


def _path(visit: Visit) -> str:
    return f"/{_image(visit)}/-/spread"


async def _ask(visit: Visit) -> ImageSpread:
    key = "tag" if "tag" in visit.parameters else "digest"
    path = f"/repositories/{segment(visit.parameters['name'])}/spread"
    found: ImageSpread = await visit.api(GET, path, query={key: visit.parameters[key]})
    return found


def _parts(spread: ImageSpread) -> Sequence[Part]:
    told = Part("spread-told", "operator/spread_told.html", {"sentences": sentences(spread)})
    table = Part("spread-stores", "operator/spread_stores.html", _stores(spread))
    return [told, table]


def _stores(spread: ImageSpread) -> Mapping[str, Any]:
    read: defaultdict[int, list[int]] = defaultdict(list)
    for one in spread.reads:
        read[one.store].append(one.cell)
    shown = spread.stores[:STORES_SHOWN_MAX]
    rows = [
        {
            "store": store,
            "width": max(1, spread.cells),
            "paths": [(_CELLS[value], path) for value, path in row(store.cells).items() if value],
            "read": marks(read[place]),
            "read_cells": len(read[place]),
        }
        for place, store in enumerate(shown)
    ]
    more = len(spread.stores) - len(shown)
    return {"rows": rows, "more_stores": more, "chunks_per_cell": spread.chunks_per_cell}


def sentences(spread: ImageSpread) -> list[str]:
    """Return what is to be known of it, the most important first."""
    if not spread.chunks:
        return [TEXTS["operator_spread_in_database"]]
    said = []
    if spread.lost:
        said.append(TEXTS["operator_spread_lost"].format(chunks=f"{spread.lost:,}"))
    if spread.unreadable:
        said.append(TEXTS["operator_spread_unreadable"].format(chunks=f"{spread.unreadable:,}"))
    else:
        said.append(_may_die(spread))
    if spread.owed:
        said.append(TEXTS["operator_spread_owed"].format(copies=f"{spread.owed:,}"))
    if not spread.settled:
        said.append(TEXTS["operator_spread_unsettled"])
    if not spread.complete:
        said.append(TEXTS["operator_spread_incomplete"].format(chunks=f"{spread.chunks:,}"))
    return said


def _may_die(spread: ImageSpread) -> str:
    may = [one.server for one in spread.without if not one.chunks]
    must_not = [one for one in spread.without if one.chunks]
    if not must_not:
        return TEXTS["operator_spread_any"].format(servers=", ".join(may))
    held = ", ".join(f"{one.server} ({one.chunks:,})" for one in must_not)
    if not may:
        return TEXTS["operator_spread_no_server"].format(servers=held)
    return TEXTS["operator_spread_some"].format(may=", ".join(may), must=held)
