"""What answers requests: the registry and the wire between servers, on connections of clients.

Put together here from their parts, which know each other by promises alone.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from aiohttp import web

from treescale.auth.passwords import Passwords
from treescale.auth.policy import Principal
from treescale.cache.exchange import AnswerExchange
from treescale.chunks.store import ChunkStore
from treescale.clock import Clock
from treescale.cluster.lost import LossRecorder
from treescale.console.route import API_PATHS, PING_PATH, SEARCH_PATH
from treescale.console.web.page import is_page
from treescale.http.authentication import Authenticator
from treescale.http.call import Service
from treescale.http.clients import Clients
from treescale.http.connections.connection import ConnectionServer, Handler
from treescale.http.cors import Cors
from treescale.http.limits import LIMITS, Limits
from treescale.http.proxy.origin import Proxies
from treescale.http.request_log import RequestLog
from treescale.metadata.collection import waiting
from treescale.metadata.database import Database
from treescale.metadata.events import audit
from treescale.metadata.identity import sign_on
from treescale.metadata.naming import descriptions, moves
from treescale.metadata.shown import finder, image_facts, repository_pages
from treescale.metadata.usage.pull_counts import PullCounts
from treescale.metrics.meters import Meters
from treescale.metrics.traffic import TrafficCounters
from treescale.registry.counted.logins import Logins
from treescale.registry.counted.pulled import PullCounter
from treescale.registry.counted.rates import Rates
from treescale.registry.counted.refused import RefusedUploads
from treescale.registry.credential_cache import CredentialCache, key_for_all
from treescale.registry.issuers.keys import PublishedKeys
from treescale.registry.login import Login
from treescale.registry.manifests import ManifestService
from treescale.registry.pull import Pulls
from treescale.registry.push import Pushes
from treescale.registry.robots.login import RobotLogin, audiences_of
from treescale.registry.throttle import Throttle
from treescale.registry.token_service import TokenService
from treescale.server.network.outbound_clients import ISSUERS, OutboundClients
from treescale.server.shared import Shared

READ_BUFFER_BYTES: Final = 64 * 1024
HEADER_BYTES_MAX: Final = 32 * 1024
"""One header field, or the first line: podman's partial pulls send up to 1,024 ranges in one, and
a token for many repositories is asked for in the other."""

STATEMENTS_OF_PAGES: Final = (
    waiting,
    audit,
    sign_on,
    descriptions,
    moves,
    finder,
    image_facts,
    repository_pages,
)
"""Modules with SQL that only pages and the management API ask. They are imported before the fork:
each worker that made these statements itself would take 5 MB more, pages with SQLAlchemy's code."""


async def authenticator(
    shared: Shared, database: Database, clock: Clock, exchange: AnswerExchange, secret: bytes
) -> Authenticator:
    """Return what tells callers apart; `secret` is one that all servers have."""
    settings, say_once = shared.settings, shared.proxy_warning
    key = key_for_all(secret)
    redeemed = CredentialCache(key, clock, exchange.topic("refresh token", Principal))
    tokens = TokenService(database, clock, redeemed=redeemed)
    await tokens.start()
    proven = CredentialCache(key, clock, exchange.topic("login", Principal))
    login = Login(
        database.users,
        database.access_tokens,
        Passwords(shared.password_slots),
        clock,
        remembered=proven,
        throttle=Throttle(clock, database.known_addresses, shared.failures),
        revoked=tokens.revoked,
    )
    login.passwords_off = tokens.passwords_off
    asks = OutboundClients(settings, database, clock, ISSUERS)
    login.robots = robots = RobotLogin(
        database,
        PublishedKeys(asks.client, clock),
        clock,
        audiences=audiences_of(settings.public_url),
    )
    clients = Clients(Proxies(settings.proxies), public_url=settings.public_url, say_once=say_once)
    cors = Cors(frozenset(settings.cors_origins))
    rates = Rates(shared.requests, clock)
    logins = Logins(database.connections, clock)
    return Authenticator(login, tokens, clients, cors, shared.meters, robots, rates, logins)


def compose(
    database: Database,
    store: ChunkStore,
    threads: Executor,
    guard: Authenticator,
    clock: Clock,
    traffic: TrafficCounters,
    losses: LossRecorder | None = None,
) -> Service:
    """Put the registry together on these parts."""
    losses = losses or LossRecorder(database.lost, store, clock)
    return Service(
        pushes=Pushes(
            blobs=database.blobs,
            uploads=database.uploads,
            lost=losses,
            store=store,
            threads=threads,
            clock=clock,
            new_id=lambda: secrets.token_hex(16),
        ),
        pulls=Pulls(blobs=database.blobs, store=store, found=losses.found),
        publishing=ManifestService(
            manifests=database.manifests,
            repositories=database.repositories,
            threads=threads,
            clock=clock,
            counter=PullCounter(PullCounts(database.connections), clock),
        ),
        authenticator=guard,
        traffic=traffic,
        refused=RefusedUploads(database.connections),
        new_boundary=lambda: secrets.token_hex(16),
    )


def new_connections(
    handle: Handler,
    *,
    tls: bool,
    limits: Limits = LIMITS,
    below: Mapping[str, Handler] = MappingProxyType({}),
    is_proxy: Callable[[str], bool] = lambda _: False,
    meters: Meters | None = None,
    connections_max: int | None = None,
) -> ConnectionServer:
    """Return what makes a protocol of each accepted connection; `meters` count its requests."""
    return ConnectionServer(
        handle,
        tls=tls,
        limits=limits,
        below=below,
        is_proxy=is_proxy,
        connections_max=connections_max,
        meters=meters,
        auto_decompress=False,
        read_bufsize=READ_BUFFER_BYTES,
        max_field_size=HEADER_BYTES_MAX,
        max_line_size=HEADER_BYTES_MAX,
        access_log=logging.getLogger("treescale"),  # only says that there is one
        access_log_class=partial(RequestLog, meters),
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """What answers whoever looks after it all."""

    api: Handler
    pages: Handler
    searched: Handler
    """What docker asks when it searches."""


class AnswersLater:
    """Answers that are made with the first request to any of them.

    `imported` returns what makes them; it blocks while it imports that, and runs in a thread.
    """

    def __init__(self, imported: Callable[[], Callable[[], Answers]]) -> None:
        self._imported = imported
        self._made: Answers | None = None
        self._making = asyncio.Lock()

    def answers(self) -> Answers:
        """Return what answers, to be asked like those that are there."""
        return Answers(self._api, self._pages, self._searched)

    async def _made_now(self) -> Answers:
        async with self._making:
            if self._made is None:
                make = await asyncio.to_thread(self._imported)
                self._made = make()
        return self._made

    async def _api(self, request: web.BaseRequest) -> web.StreamResponse:
        return await (self._made or await self._made_now()).api(request)

    async def _pages(self, request: web.BaseRequest) -> web.StreamResponse:
        return await (self._made or await self._made_now()).pages(request)

    async def _searched(self, request: web.BaseRequest) -> web.StreamResponse:
        return await (self._made or await self._made_now()).searched(request)


def by_path(registry: Handler, managed: Answers) -> Handler:
    """Return what has each of them answer what is theirs."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path  # of a whole URL, too (RFC 9112, 3.2.2)
        if path.startswith("/v2/"):
            return await registry(request)
        if path.startswith(API_PATHS):
            return await managed.api(request)
        if path.startswith((SEARCH_PATH, PING_PATH)):
            return await managed.searched(request)
        return await (managed.pages if is_page(path) else registry)(request)

    return handle
