"""The management API whole, on this screen."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import treescale
from treescale.auth.scopes import TokenScope
from treescale.clock import Clock
from treescale.console.accounts.tokens import NewToken, TokenDesk, TokenList, TokenMade, TokenRow
from treescale.console.cluster import ClusterDesk, ClusterReport, ReadOnlyState
from treescale.console.event_groups import (
    Acknowledged,
    Acknowledgement,
    EventGroupDesk,
    GivenEvents,
    GroupList,
    GroupRemoved,
)
from treescale.console.events import LINES, SERVER_SENT, EventDesk, EventPage
from treescale.console.hooks import (
    DeliveryList,
    DeliveryMade,
    HookDesk,
    HookMade,
    HookPage,
    HookRow,
    NewHook,
    NewSecret,
    SecretMade,
)
from treescale.console.organisations import (
    MemberList,
    NewOrganisation,
    NewRole,
    OrganisationDesk,
    OrganisationPage,
    OrganisationRemoved,
    OrganisationRow,
    VisibilityState,
)
from treescale.console.repositories import RepositoryDesk, RepositoryPage, RepositoryRow
from treescale.console.route import GET, Answered, ApiRoute, Asked, Who
from treescale.console.table.openapi import document
from treescale.events.live import LiveLog
from treescale.metadata.database import Database
from treescale.registry.accounts import PasswordHashing
from treescale.registry.hooks import WebhookService

PUT: Final = "PUT"
POST: Final = "POST"
DELETE: Final = "DELETE"
PAGE: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before.",
}

EVENTS: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before; `oldest`, as for a page without it; or `newest`.",
    "follow": "1: go on as JSON lines, for as long as they are read.",
    "kind": "Globs joined by commas, such as `image.*`.",
    "namespace": "One namespace.",
    "repository": "A glob, such as `alice/*`.",
}

OF_NAMESPACE: Final = {"namespace": "Whose groups, for administrators; else the caller's."}
NEXT: Final = OF_NAMESPACE | {
    "n": "How many at most, 1 to 100.",
    "wait": "For how many seconds to wait when there is none, 0 to 30.",
    "begin": "Where a group begins that is made by this: `newest`, as without it, or `oldest`.",
}


def api_routes(
    database: Database,
    clock: Clock,
    live: LiveLog,
    *,
    passwords: PasswordHashing,
    public_url: str = "",
) -> Sequence[ApiRoute]:
    """Return every route there is; the last describes them all.

    `public_url` is where clients reach the registry, which payloads of webhooks name.
    """
    described: dict[str, Any] = {}

    async def describe(_: Asked) -> Answered:
        if not described:
            described.update(document(rows, treescale.__version__))
        return Answered(described)

    rows = [
        *_of_the_cluster(ClusterDesk(database, clock)),
        *_of_repositories(RepositoryDesk(database)),
        *_of_organisations(OrganisationDesk(database)),
        *_of_tokens(TokenDesk(database, passwords)),
        *_of_hooks(HookDesk(WebhookService(database, public_url, clock=clock))),
        *_of_events(EventDesk(live)),
        *_of_groups(EventGroupDesk(database, live)),
        ApiRoute(GET, "/openapi.json", Who.ANYBODY, "This document", describe, dict[str, Any]),
    ]
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


def _of_organisations(desk: OrganisationDesk) -> Iterable[ApiRoute]:
    """Yield them, the longer paths first: the last parameter of a path takes slashes."""
    who, one, state = Who.USER, "/organisations/{name}", VisibilityState
    member, query = f"{one}/members/{{user}}", {"repository": "The glob of the one role that ends."}
    what = "Who has which role there; for owners"
    yield ApiRoute(GET, f"{one}/members", who, what, desk.members, MemberList)
    what = "Give a user a role, in place of the one for the same glob"
    yield ApiRoute(PUT, member, who, what, desk.grant, MemberList, takes=NewRole)
    what = "Take a user's roles away"
    yield ApiRoute(DELETE, member, who, what, desk.revoke, MemberList, query=query)
    what = "Organisations in which the caller has a role, by name; of administrators all"
    yield ApiRoute(GET, "/organisations", who, what, desk.list, OrganisationPage, query=PAGE)
    what, made = "Make an organisation", OrganisationRow
    admin = Who.ADMINISTRATOR
    yield ApiRoute(POST, "/organisations", admin, what, desk.add, made, takes=NewOrganisation)
    what = "An organisation, or a user's namespace"
    yield ApiRoute(GET, one, who, what, desk.show, OrganisationRow)
    what = "Say what repositories are that come into being there"
    yield ApiRoute(PUT, one, who, what, desk.change, OrganisationRow, takes=state)
    what = "Remove an organisation, and delete its repositories"
    yield ApiRoute(DELETE, one, who, what, desk.remove, OrganisationRemoved)
    what, path = "Say who may pull from a repository without a role", "/visibility/{name}"
    yield ApiRoute(PUT, path, who, what, desk.put_visibility, state, takes=state)


def _of_tokens(desk: TokenDesk) -> Iterable[ApiRoute]:
    who, query = Who.USER, {"user": "Whose, for administrators; else the caller's."}
    what = "Access tokens of the caller, oldest first"
    yield ApiRoute(GET, "/tokens", who, what, desk.list, TokenList, query=query)
    what = "Make an access token; not for whoever shows one"
    yield ApiRoute(POST, "/tokens", who, what, desk.add, TokenMade, takes=NewToken)
    what = "Void an access token"
    yield ApiRoute(DELETE, "/tokens/{token}", who, what, desk.revoke, TokenRow)


def _of_hooks(desk: HookDesk) -> Iterable[ApiRoute]:
    """Yield them, the longer paths first: the last parameter of a path takes slashes."""
    who = Who.USER
    what = "What was sent to a webhook lately"
    yield ApiRoute(GET, "/hooks/{hook}/deliveries", who, what, desk.deliveries, DeliveryList)
    what = "Send an event that is none"
    yield ApiRoute(POST, "/hooks/{hook}/ping", who, what, desk.ping, DeliveryMade)
    what = "Sign with another secret, and for a day with the one before too"
    rotate = desk.rotate
    yield ApiRoute(POST, "/hooks/{hook}/rotate", who, what, rotate, SecretMade, takes=NewSecret)
    what = "Have a webhook be left alone"
    yield ApiRoute(POST, "/hooks/{hook}/disable", who, what, desk.disable, HookRow)
    what = "Have a webhook be asked again"
    yield ApiRoute(POST, "/hooks/{hook}/enable", who, what, desk.enable, HookRow)
    what = "Send once more what was sent"
    yield ApiRoute(
        POST, "/deliveries/{delivery}/redeliver", who, what, desk.redeliver, DeliveryMade
    )
    what = "Webhooks of the caller, by id; of administrators all"
    yield ApiRoute(GET, "/hooks", who, what, desk.list, HookPage, query=PAGE)
    what = "Make a webhook"
    yield ApiRoute(POST, "/hooks", who, what, desk.add, HookMade, takes=NewHook)
    what = "One webhook"
    yield ApiRoute(GET, "/hooks/{hook}", who, what, desk.show, HookRow)
    what = "Remove a webhook, and what was to be sent to it"
    yield ApiRoute(DELETE, "/hooks/{hook}", who, what, desk.remove, HookRow)


def _of_events(desk: EventDesk) -> Iterable[ApiRoute]:
    what = "What has happened, in order, as far as the caller may see it; in pages, or followed"
    yield ApiRoute(
        GET,
        "/events",
        Who.USER,
        what,
        desk.read,
        EventPage,
        query=EVENTS,
        scope=TokenScope.EVENTS,
        streams=(SERVER_SENT, LINES),
    )


def _of_groups(desk: EventGroupDesk) -> Iterable[ApiRoute]:
    who, scope, query = Who.USER, TokenScope.EVENTS, OF_NAMESPACE
    one = "/events/groups/{name}"
    what = "The groups of consumers of a namespace"
    yield ApiRoute(GET, "/events/groups", who, what, desk.list, GroupList, query=query, scope=scope)
    what = "Events for one consumer of a group, which has 30 s to acknowledge them"
    yield ApiRoute(POST, f"{one}/next", who, what, desk.next, GivenEvents, query=NEXT, scope=scope)
    what = "Acknowledge events: they are given to no consumer of the group again"
    yield ApiRoute(
        POST,
        f"{one}/ack",
        who,
        what,
        desk.acknowledge,
        Acknowledged,
        takes=Acknowledgement,
        query=query,
        scope=scope,
    )
    what = "Remove a group"
    yield ApiRoute(DELETE, one, who, what, desk.remove, GroupRemoved, query=query, scope=scope)
