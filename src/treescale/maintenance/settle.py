"""A layout by which everything lies: what lay by older ones has been moved.

Until it is said so, older layouts count: for what would be lost with a store, and for the copies
that may be missing.
"""

from collections.abc import Iterable, Mapping

from treescale.log import get_logger
from treescale.maintenance.planning.progress import FOLLOWED_SECONDS
from treescale.metadata.database import Database
from treescale.metadata.records import LayoutRecord, StoreWalk


def is_settled(layout: LayoutRecord, walks: Iterable[StoreWalk]) -> bool:
    """Say whether every store of the layout has all its copies, looked at since all go by it."""
    known: Mapping[str, StoreWalk] = {walk.store_id: walk for walk in walks}
    return all(
        (walk := known.get(store.store_id)) is not None
        and walk.layout == layout.number
        and not walk.pending
        and not walk.missing
        and walk.looked >= layout.created + FOLLOWED_SECONDS / 2
        for store in layout.stores
    )


async def settle(database: Database) -> None:
    """Note that chunks lie by the layout in force alone, if they do."""
    layout = await database.layouts.latest()
    if layout is None or await database.layouts.oldest_used() == layout.number:
        return
    if is_settled(layout, await database.walks.list()):
        await database.layouts.settle(layout.number)
        get_logger().info("layout.settled", number=layout.number)
