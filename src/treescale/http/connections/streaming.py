"""Answers that go on: sent piece by piece as something happens, for as long as somebody is there.

Who waits for the next piece is told at once that the client has gone, not when one is to be sent:
what a stream holds, as a place among the followers, is free for the same client a moment later.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from treescale.errors import TreeScaleError
from treescale.http.connections.connection import Connection
from treescale.http.request_record import request_id
from treescale.log import get_logger


async def stream(
    request: web.BaseRequest, response: web.StreamResponse, pieces: AsyncIterator[bytes]
) -> None:
    """Send the head, and the pieces until there are no more, or nobody is there to take them.

    What goes wrong once it has begun ends it, and is logged: whoever reads goes on elsewhere.
    """
    try:
        async with _while_connected(request):
            await response.prepare(request)
            async for piece in pieces:
                if piece:
                    await response.write(piece)
            await response.write_eof()
    except (TreeScaleError, ConnectionError) as error:
        response.force_close()
        get_logger().info("stream.ended", error=str(error), request_id=request_id(request))


@asynccontextmanager
async def _while_connected(request: web.BaseRequest) -> AsyncIterator[None]:
    """Raise ConnectionResetError within as soon as the client has gone."""
    connection = request.protocol
    assert isinstance(connection, Connection), "of ConnectionServer"
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)
    try:
        async with scope:
            connection.on_gone = lambda: scope.reschedule(loop.time())
            try:
                yield
            finally:
                connection.on_gone = None
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise ConnectionResetError("the client has gone") from error
