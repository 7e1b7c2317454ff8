"""The loop servers run on, made so that a test that hangs on it ends.

pytest-timeout raises its failure in a signal handler, and uvloop hands whatever is raised there to
the loop's exception handler: a hanging test would hang for ever.
"""

import asyncio
from typing import Any

import pytest
import uvloop


def new_uvloop() -> asyncio.AbstractEventLoop:
    """Return a new loop whose tasks end when the test's time is over."""
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_end_at_timeout)
    return loop


def _end_at_timeout(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), pytest.fail.Exception):
        for task in asyncio.all_tasks(loop):
            task.cancel("the test's time is over")
