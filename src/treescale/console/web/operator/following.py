"""Parts of a page as they change, for as long as one connection is kept."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

from treescale.console.web.page import Part

TICK_SECONDS: Final = 0.5
CONNECTION_SECONDS: Final = 60.0
"""Then browsers ask again, and it is looked at who they are."""
BEAT_SECONDS: Final = 2.0
"""When nothing changes, so often it is found out whether anybody looks still."""


async def following(
    look: Callable[[], Awaitable[Sequence[Part]]],
) -> AsyncGenerator[Part | None, None]:
    """Yield each part as it is, then whenever it is another; a part that is the same, never."""
    loop = asyncio.get_running_loop()
    shown: dict[str, Part] = {}
    end = loop.time() + CONNECTION_SECONDS
    beat = loop.time()
    while loop.time() < end:
        for part in await look():
            before = shown.get(part.element)
            if before is not part and before != part:
                shown[part.element] = part
                beat = loop.time()
                yield part
        if loop.time() - beat >= BEAT_SECONDS:
            beat = loop.time()
            yield None
        await asyncio.sleep(TICK_SECONDS)
