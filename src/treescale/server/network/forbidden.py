"""What no request to an address that others chose may reach: this server, its peers, the database.

Whoever may be asked is decided at the socket, by its address; names are looked up here, so that
their addresses are refused whatever name leads to them.
"""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from treescale.config import Settings, parse_listen, unix_path
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.hosts.host import PORT
from treescale.metadata.records import ServerRecord
from treescale.outbound.networks import Forbidden, Target
from treescale.server.network.machine import addresses

LOOK_UP_SECONDS: Final = 5.0
LISTENER: Final = "the server itself"
PEER: Final = "a server of the registry"
DATABASE: Final = "the registry's database"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """A host and port, and what is there."""

    host: str
    port: int
    what: str


def own_places(settings: Settings, own: Iterable[str]) -> list[Place]:
    """Return where this server listens, at each of the machine's addresses."""
    told = [*settings.listen, *settings.listen_proxy, *settings.redirect_listen]
    told += [settings.metrics_listen] if settings.metrics_listen else []
    ports = {parse_listen(text)[1] for text in told if unix_path(text) is None}
    return [Place(host, port, LISTENER) for host in own for port in sorted(ports)]


def peer_places(servers: Iterable[ServerRecord]) -> list[Place]:
    """Return where the servers of the cluster reach each other."""
    found = []
    for server in servers:
        url = urlsplit(server.address)
        port = url.port or _PORTS.get(url.scheme, 0)
        if url.hostname and port:
            found.append(Place(url.hostname, port, PEER))
    return found


def database_places(url: str) -> list[Place]:
    """Return where the database may be."""
    return [
        Place(host.name, host.port or PORT, DATABASE)
        for host in parse_address(url).hosts
        if host.name and not host.name.startswith("/")
    ]


async def forbidden(settings: Settings, servers: Iterable[ServerRecord]) -> tuple[Forbidden, ...]:
    """Return all of these by their addresses; a name that nobody knows now leads nowhere."""
    places = {
        *own_places(settings, addresses()),
        *peer_places(servers),
        *database_places(settings.database),
    }
    found = await asyncio.gather(*(_looked_up(place) for place in sorted(places, key=str)))
    return tuple(one for each in found for one in each)


async def _looked_up(place: Place) -> list[Forbidden]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            rows = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    hosts = {str(where[0]).partition("%")[0] for *_, where in rows}
    return [Forbidden(Target(ip_network(host), place.port), place.what) for host in sorted(hosts)]
