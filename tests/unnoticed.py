"""Errors that nobody took notice of: what asyncio tells its loop's handler, collected."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def nothing_unnoticed() -> AsyncIterator[None]:
    """Fail when, within it, a future or a task ends with an error that nobody looks at."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        yield
        for _ in range(5):  # what is cancelled tells its followers in the rounds after
            await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(before)
    assert told == [], [str(context.get("exception") or context["message"]) for context in told]
