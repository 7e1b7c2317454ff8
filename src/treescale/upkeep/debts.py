"""Reading the copies that are owed: those to some chunks, or all of them up to a limit."""

from bisect import bisect_right
from collections.abc import Collection, Iterable
from typing import Final

from treescale.metadata.protocols import Owed
from treescale.upkeep.losses import Debts

page_size: Final = 1000
debts_read_max: Final = 200_000
struck_at_once: Final = 10_000


async def owed_among(owed: Owed, store_id: str, chunks: Collection[bytes]) -> set[bytes]:
    """Return which of these chunks are owed to the store.

    Reads only those stretches of what is owed to it that hold some of them, so the work is bounded
    by the fewer of the two.
    """
    wanted, found, index = sorted(chunks), set[bytes](), 0
    known = frozenset(wanted)
    while index < len(wanted):
        page = await owed.list(store_id, _just_before(wanted[index]), page_size)
        found |= known.intersection(page)
        if len(page) < page_size:
            break
        index = bisect_right(wanted, page[-1])
    return found


async def debts_to(owed: Owed, stores: Iterable[str]) -> Debts:
    """Return what is owed to these stores, `debts_read_max` copies at most."""
    found: dict[bytes, set[str]] = {}
    left = debts_read_max
    for store_id in stores:
        after = b""
        while page := await owed.list(store_id, after, page_size):
            if left < len(page):
                return Debts(found, complete=False)
            left -= len(page)
            for chunk in page:
                found.setdefault(chunk, set()).add(store_id)
            after = page[-1]
    return Debts(found, complete=True)


async def strike(owed: Owed, store_id: str) -> int:
    """Forget all that is owed to a store that is no more; return how many copies that were."""
    total = 0
    while struck := await owed.forget(store_id, struck_at_once):
        total += struck
    return total


def _just_before(chunk: bytes) -> bytes:
    """Return the id before this one, so that a page that begins after it begins with this one."""
    number = int.from_bytes(chunk, "big")
    return (number - 1).to_bytes(len(chunk), "big") if number else b""
