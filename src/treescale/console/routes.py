"""The management API whole, on this screen."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import treescale
from treescale.clock import Clock
from treescale.console.cluster import ClusterDesk, ClusterReport, ReadOnlyState
from treescale.console.openapi import document
from treescale.console.repositories import RepositoryDesk, RepositoryPage, RepositoryRow
from treescale.console.route import Answered, ApiRoute, Asked, Who
from treescale.metadata.database import Database

GET: Final = "GET"
PUT: Final = "PUT"
PAGE: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before.",
}


def api_routes(database: Database, clock: Clock) -> Sequence[ApiRoute]:
    """Return every route there is; the last describes them all."""
    described: dict[str, Any] = {}

    async def describe(_: Asked) -> Answered:
        return Answered(described)

    rows = [
        *_of_the_cluster(ClusterDesk(database, clock)),
        *_of_repositories(RepositoryDesk(database)),
        ApiRoute(GET, "/openapi.json", Who.ANYBODY, "This document", describe, dict[str, Any]),
    ]
    described.update(document(rows, treescale.__version__))
    return rows


def _of_the_cluster(desk: ClusterDesk) -> Iterable[ApiRoute]:
    who, state = Who.ADMINISTRATOR, ReadOnlyState
    what = "Servers, stores, copies, collection, and what to do"
    yield ApiRoute(GET, "/cluster", who, what, desk.status, ClusterReport)
    what = "Whether the registry is read-only"
    yield ApiRoute(GET, "/read-only", who, what, desk.get_read_only, state)
    what = "Have the registry be read-only, or end that"
    yield ApiRoute(PUT, "/read-only", who, what, desk.put_read_only, state, takes=state)
    what = "Whether a repository, or a namespace, is read-only by itself"
    yield ApiRoute(GET, "/read-only/{name}", who, what, desk.get_read_only_of, state)
    what = "Have a repository, or a namespace, be read-only, or end that"
    yield ApiRoute(PUT, "/read-only/{name}", who, what, desk.put_read_only_of, state, takes=state)


def _of_repositories(desk: RepositoryDesk) -> Iterable[ApiRoute]:
    what = "Repositories that the caller may see, by name"
    yield ApiRoute(GET, "/repositories", Who.USER, what, desk.list, RepositoryPage, query=PAGE)
    what = "One repository"
    yield ApiRoute(GET, "/repositories/{name}", Who.USER, what, desk.show, RepositoryRow)
