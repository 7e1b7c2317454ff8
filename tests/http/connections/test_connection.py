"""Which handler answers is decided by how the path begins."""

import asyncio
import socket

from aiohttp import web

from tests.tables import each_row
from treescale.http.connections.connection import ConnectionServer, Handler
from treescale.http.connections.crowd import Bounds


def saying(what: str) -> Handler:
    """Return what answers with this."""

    async def say(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=what)

    return say


@each_row(
    ("path", "answered"),
    [
        ("/", "others"),
        ("/v2/", "others"),
        ("/peer/v1", "others"),
        ("/peer/v1/ping", "peers"),
        ("/peer/v2/ping", "others"),
        ("/v2/peer/v1/", "others"),
        ("/peer/%76%31/ping", "others"),
    ],
)
async def test_what_is_below_a_prefix_is_answered_by_somebody_else(
    path: str, answered: str
) -> None:
    connections = ConnectionServer(
        saying("others"), tls=False, below={"/peer/v1/": saying("peers")}, access_log=None
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(connections, sock=listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        request = f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.read()).endswith(f"\r\n\r\n{answered}".encode())
        writer.close()
        server.close()
        await connections.drain(1)


async def test_a_door_that_must_leave_room_has_fewer_connections() -> None:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    all_that_fit = ConnectionServer(handle, tls=False)._crowd.bounds
    few = ConnectionServer(handle, tls=False, connections_max=5)
    few.make_room()  # measures anew
    assert all_that_fit.connections > 5
    assert few._crowd.bounds == Bounds(5, 5, 5)
