"""Looks up the names that others chose, in threads of its own.

A name whose servers say nothing keeps a thread for half a minute, whenever whoever asked has given
up. The event loop has few for all look-ups of the process, so two such names would hold up those of
the database, of peers, and of everybody else who is asked.
"""

import asyncio
import socket
from functools import partial
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from treescale.threads import Threads

AT_ONCE_MAX: Final = 64


class Names(AbstractResolver):
    """Looks up names with the system's resolver."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; raises OSError."""
        look = partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except RuntimeError as error:  # no thread can be had
            raise OSError(str(error)) from None
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, where in rows
        ]

    async def close(self) -> None:
        """Let go of nothing: the threads are others' as well."""


def threads_for_names() -> Threads:
    """Return what all uses of a server share; none begins before there is a name."""
    return Threads(AT_ONCE_MAX, thread_name_prefix="names")
