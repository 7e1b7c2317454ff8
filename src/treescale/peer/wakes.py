"""How much of a long body has to come before the loop is woken to read it.

On a narrow wire it would else be woken for each few packets, and most of what a server did for a
chunk was that.
"""

import asyncio
import socket
from typing import Final

READ_AT_ONCE_BYTES: Final = 256 * 1024


def wake_at(transport: asyncio.BaseTransport, count: int) -> bool:
    """Have the loop woken when so many bytes have come, or the connection has ended.

    Whoever asks for more than 1 knows that they will come, and asks for 1 after them. Not done, and
    False, with TLS, whose records leave the socket before they can be read.
    """
    if transport.get_extra_info("sslcontext"):
        return False
    near = transport.get_extra_info("socket")
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    return True
