"""Composes what answers whoever looks after it all: the management API, and pages for people.

It imports what nothing else of a server needs, and so is imported with the first request to it.
"""

import os
from dataclasses import dataclass

from treescale.auth.passwords import Passwords
from treescale.clock import Clock, SystemClock
from treescale.config import unsafe_leases
from treescale.console.route import ApiRoute
from treescale.console.table.dispatch import ApiDispatcher
from treescale.console.table.docker_search import DockerSearch
from treescale.console.table.inside import Inside
from treescale.console.table.routes import api_routes
from treescale.console.watch.sights import Sights
from treescale.console.web.dispatch import PageDispatcher
from treescale.console.web.table import PageParts, page_routes
from treescale.events.live import LiveLog
from treescale.http.administrators import Administrators
from treescale.http.call import Service
from treescale.http.sessions.visitor import Visitors
from treescale.http.traced import with_spans
from treescale.metadata.database import Database
from treescale.registry.issuers.keys import PublishedKeys
from treescale.registry.people.openid import OpenId
from treescale.registry.people.sessions import SessionService
from treescale.server.cluster_view import ClusterView
from treescale.server.network.outbound_clients import ISSUERS, OutboundClients
from treescale.server.serving import Answers
from treescale.server.shared import Shared


@dataclass(frozen=True, slots=True)
class Managed:
    """What a worker gives whoever looks after it all."""

    shared: Shared
    view: ClusterView
    database: Database
    rooms: Service
    administrators: Administrators
    live: LiveLog
    time: Clock

    def answers(self) -> Answers:
        """Return what answers."""
        visitors = Visitors(
            SessionService(self.database, self.time), self.rooms.authenticator.clients
        )
        routes = self._routes()
        return Answers(
            api=with_spans(self._api(routes, visitors).handle),
            # Without spans: some paths let in who knows them.
            pages=self._pages(routes, visitors).handle,
            searched=DockerSearch(Inside(routes), self.rooms.authenticator).handle,
        )

    def _routes(self) -> list[ApiRoute]:
        shared = self.shared
        return [
            *api_routes(
                self.database,
                SystemClock(),
                self.live,
                passwords=Passwords(shared.password_slots),
                public_url=shared.settings.public_url,
                unsafe_leases=unsafe_leases(os.environ),
                sights=self._sights(),
            )
        ]

    def _sights(self) -> Sights:
        """Return what this process sees of its cluster by itself."""
        shared, view = self.shared, self.view
        return Sights(
            shared.server_id,
            view.peers.reached,
            lambda: view.tables,
            shared.chunk_reads,
            shared.moments,
        )

    def _api(self, routes: list[ApiRoute], visitors: Visitors) -> ApiDispatcher:
        return ApiDispatcher(
            routes,
            self.rooms.authenticator,
            self.administrators,
            self.rooms.traffic,
            check=self.view.check_member,
            visitors=visitors,
        )

    def _pages(self, routes: list[ApiRoute], visitors: Visitors) -> PageDispatcher:
        guard = self.rooms.authenticator
        asking = OutboundClients(self.shared.settings, self.database, self.time, ISSUERS).client
        parts = PageParts(
            self.database,
            Passwords(self.shared.password_slots),
            self.time,
            visitors.sessions,
            guard.tokens,
            OpenId(PublishedKeys(asking, self.time), asking),
        )
        return PageDispatcher(
            page_routes(parts),
            guard,
            visitors,
            self.rooms.traffic,
            Inside(routes),
            check=self.view.check_member,
        )
