"""What bounds how much one connection brings, before any of it is parsed.

A parser takes whatever comes: heads of 1xx without end, extensions of chunks, fields. What parses
them has the event loop meanwhile, so a receiver that sends as fast as it can would hold up all that
this process does.
"""

import asyncio
from typing import Final

from aiohttp.client_proto import ResponseHandler

HEADS_BYTES_MAX: Final = 64 * 1024
"""Of an answer's head, those of 1xx before it, and what frames its body."""


class BoundedHandler(ResponseHandler):
    """A connection that ends once it has brought more than an answer may have."""

    def __init__(self, loop: asyncio.AbstractEventLoop, body_bytes: int) -> None:
        """`body_bytes` is how long the body may be."""
        super().__init__(loop=loop)
        self._left = HEADS_BYTES_MAX + 2 * body_bytes

    def data_received(self, data: bytes) -> None:
        """Take what is within the bound, and end the connection beyond it."""
        taken, self._left = data[: self._left], self._left - len(data)
        if taken or not data:
            super().data_received(taken)
        if self._left < 0:
            self._left = 0
            if self.transport is not None:
                self.transport.abort()
