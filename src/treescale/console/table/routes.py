"""The management API whole, on this screen."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import treescale
from treescale.auth.scopes import TokenScope
from treescale.clock import Clock
from treescale.console.accounts.robots import IssuerDesk, RobotDesk
from treescale.console.accounts.tokens import (
    NewToken,
    TokenDesk,
    TokenMade,
    TokenPage,
    TokenRow,
)
from treescale.console.accounts.users import NewPassword, NewUser, UserDesk, UserPage, UserRow
from treescale.console.audit import LINES as AUDIT_LINES
from treescale.console.audit import AuditDesk, AuditPage
from treescale.console.cluster import ClusterDesk, ClusterReport, ReadOnlyChanged, ReadOnlyState
from treescale.console.content.descriptions import BODY_BYTES_MAX as DESCRIPTION_BYTES_MAX
from treescale.console.content.descriptions import Description, DescriptionDesk
from treescale.console.content.images import (
    DeletedPage,
    Gone,
    ImageDesk,
    ManifestRow,
    RepositoryReport,
    Restoration,
    Restored,
    TagPage,
)
from treescale.console.content.naming import CopyMade, MoveMade, NamingDesk, NewCopy, NewMove
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
    OrganisationShown,
    VisibilityState,
)
from treescale.console.purges import NewPurge, Purged, PurgeDesk
from treescale.console.quotas import (
    ClusterLimits,
    NewClusterLimits,
    NewLimits,
    QuotaDesk,
    QuotaPage,
    QuotaRow,
    UsageList,
    UsagePage,
)
from treescale.console.route import DELETE, GET, PAGE, POST, PUT, Answered, ApiRoute, Asked, Who
from treescale.console.rules import (
    Confirmation,
    Explanation,
    NewRule,
    RetentionPlan,
    RuleDesk,
    RuleList,
    RuleRow,
)
from treescale.console.table.content import content_rows
from treescale.console.table.people import people_rows
from treescale.console.table.robots import issuer_routes, robot_routes
from treescale.console.table.watching import watching_rows
from treescale.console.watch.sights import NO_SIGHTS, Sights
from treescale.console.work.jobs import JobBegun, JobDesk, JobReport, NewJob
from treescale.console.work.settings import (
    NewSetting,
    SettingChanged,
    SettingDesk,
    SettingList,
    SettingState,
)
from treescale.console.work.targets import (
    Draining,
    Forgetting,
    Forgotten,
    TargetDesk,
    TargetRow,
    Waiting,
)
from treescale.events.live import LiveLog
from treescale.metadata.database import Database
from treescale.registry.accounts import PasswordHashing
from treescale.registry.hooks import WebhookService

EVENTS: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before; `oldest`, as for a page without it; or `newest`.",
    "follow": "1: go on as JSON lines, for as long as they are read.",
    "kind": "Globs joined by commas, such as `image.*`.",
    "namespace": "One namespace.",
    "repository": "A glob, such as `alice/*`.",
}

OF_MONTH: Final = PAGE | {"month": "As `2026-11`; the present one without it."}
AUDIT: Final = {
    "n": "How many at most, 1 to 1,000.",
    "after": "The `next` of the page before.",
    "order": "`newest` first, as without it, or `oldest`.",
    "namespace": "Of which: without it all for administrators, and the caller's own for others.",
    "actor": "Who did it, letter for letter.",
    "kind": "Globs joined by commas, such as `token.*,member.*`.",
    "repository": "A glob, such as `alice/*`.",
    "since": "A time such as `2026-12-01T08:30:00Z`, or so long ago, such as `7d`.",
    "until": "Likewise, and what happened then is left out.",
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
    unsafe_leases: bool = False,
    sights: Sights = NO_SIGHTS,
) -> Sequence[ApiRoute]:
    """Return every route there is; the last describes them all.

    `public_url` is where clients reach the registry, which payloads of webhooks name. With
    `unsafe_leases` a lease may be set to seconds. `sights` are what this process of a server sees.
    """

    @cache
    def described() -> dict[str, Any]:
        from treescale.console.table.openapi import document  # noqa: PLC0415  no command asks

        return document(rows, treescale.__version__)

    async def describe(_: Asked) -> Answered:
        return Answered(described())  # made late: it takes a third as long as a start

    rows = [
        *_of_the_cluster(ClusterDesk(database, clock)),
        *_of_settings(SettingDesk(database, clock, unsafe_leases=unsafe_leases)),
        *_of_targets(TargetDesk(database, clock)),
        *_of_jobs(JobDesk(database, clock)),
        *watching_rows(database, clock, live, sights),
        *_of_images(ImageDesk(database)),
        *_of_naming(NamingDesk(database, clock)),
        *content_rows(database),
        *_of_descriptions(DescriptionDesk(database)),
        *robot_routes(RobotDesk(database)),  # longer than those of organisations
        *_of_organisations(OrganisationDesk(database)),
        *_of_quotas(QuotaDesk(database)),
        *_of_purges(PurgeDesk(database, clock)),
        *_of_rules(RuleDesk(database)),
        *people_rows(database, passwords, clock, public_url),
        *_of_users(UserDesk(database, passwords)),
        *_of_tokens(TokenDesk(database, passwords)),
        *issuer_routes(IssuerDesk(database)),
        *_of_hooks(HookDesk(WebhookService(database, public_url, clock=clock))),
        *_of_events(EventDesk(live, database.organisations)),
        *_of_groups(EventGroupDesk(database, live)),
        *_of_the_audit_log(AuditDesk(database)),
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
    changed = ReadOnlyChanged
    yield ApiRoute(PUT, "/read-only", who, what, desk.put_read_only, changed, takes=state)
    what = "Whether a repository, or a namespace, is read-only by itself"
    yield ApiRoute(GET, "/read-only/{name}", who, what, desk.get_read_only_of, state)
    what = "Have a repository, or a namespace, be read-only, or end that"
    yield ApiRoute(PUT, "/read-only/{name}", who, what, desk.put_read_only_of, state, takes=state)


def _of_settings(desk: SettingDesk) -> Iterable[ApiRoute]:
    who, one = Who.ADMINISTRATOR, "/cluster/settings/{setting}"
    what = "What all servers go by"
    yield ApiRoute(GET, "/cluster/settings", who, what, desk.list, SettingList)
    yield ApiRoute(GET, one, who, "One setting, with its ETag", desk.show, SettingState)
    what = "Set it, with If-Match only while it is as it was seen"
    yield ApiRoute(PUT, one, who, what, desk.change, SettingChanged, takes=NewSetting)


def _of_targets(desk: TargetDesk) -> Iterable[ApiRoute]:
    who, one = Who.ADMINISTRATOR, "/cluster/targets/{target}"
    what = "Move what a server or store holds to the others"
    yield ApiRoute(POST, f"{one}/drain", who, what, desk.drain, Draining)
    what = "Take a drain back"
    yield ApiRoute(POST, f"{one}/undrain", who, what, desk.undrain, Draining)
    what = "What is to be waited for until it is empty"
    yield ApiRoute(GET, f"{one}/waiting", who, what, desk.waiting, Waiting)
    what = "A server or store, by a name, an address, a path or an id"
    yield ApiRoute(GET, one, who, what, desk.show, TargetRow)
    what, path = "Strike off a server or store that will never come back", f"{one}/forget"
    yield ApiRoute(POST, path, who, what, desk.forget, Forgotten, takes=Forgetting)


def _of_jobs(desk: JobDesk) -> Iterable[ApiRoute]:
    who = Who.ADMINISTRATOR
    what = "Ask all stores to repair, verify, check or collect, now"
    yield ApiRoute(POST, "/jobs", who, what, desk.begin, JobBegun, takes=NewJob)
    yield ApiRoute(GET, "/jobs/{job}", who, "How far a job is", desk.show, JobReport)


def _of_images(desk: ImageDesk) -> Iterable[ApiRoute]:
    """Yield them before those of repositories: the parameter `name` of a path takes slashes.

    Robots may ask for what they may do by the registry's own API, too.
    """
    who, one = Who.USER, "/repositories/{name}"
    path, what = f"{one}/tags", "Tags of a repository, by name"
    yield ApiRoute(GET, path, Who.READER, what, desk.tags, TagPage, query=PAGE, robots=True)
    what = "Delete a tag alone; it can be restored for a while"
    yield ApiRoute(DELETE, f"{path}/{{tag}}", who, what, desk.delete_tag, Gone, robots=True)
    manifest, what = f"{one}/manifests/{{digest}}", "A manifest, and the tags that point at it"
    yield ApiRoute(GET, manifest, who, what, desk.manifest, ManifestRow, robots=True)
    what = "Delete a manifest with its tags and all that is said of it; it can be restored"
    yield ApiRoute(DELETE, manifest, who, what, desk.delete_manifest, Gone, robots=True)
    what, query = "What it takes, and on which stores its chunks belong", {"tag": "Of this image."}
    admin, path = Who.ADMINISTRATOR, f"{one}/report"
    yield ApiRoute(GET, path, admin, what, desk.report, RepositoryReport, query=query)
    what = "Delete a repository; it can be restored for a while"
    query = {"force": "1: also with tags that a rule has stay as they are."}
    yield ApiRoute(DELETE, one, who, what, desk.delete_repository, Gone, query=query)
    what, query = (
        "What can be restored, and until when",
        {
            "namespace": "Of which namespace.",
            "repository": "Or of which repository: its tags and images.",
            **PAGE,
        },
    )
    yield ApiRoute(GET, "/deleted", who, what, desk.deleted, DeletedPage, query=query)
    what, path = "Bring back what was deleted", "/restorations"
    yield ApiRoute(POST, path, who, what, desk.restore, Restored, takes=Restoration)


def _of_naming(desk: NamingDesk) -> Iterable[ApiRoute]:
    who = Who.USER
    what = "Copy an image to another repository or tag, with all that is said of it; no byte moves"
    yield ApiRoute(POST, "/copies", who, what, desk.copy, CopyMade, takes=NewCopy, robots=True)
    what = "Give a repository, or all of a namespace, another name"
    yield ApiRoute(POST, "/moves", who, what, desk.move, MoveMade, takes=NewMove)


def _of_descriptions(desk: DescriptionDesk) -> Iterable[ApiRoute]:
    who, path, takes = Who.USER, "/descriptions/{name}", Description
    what = "What a repository, or a namespace, says of itself, with its ETag"
    yield ApiRoute(GET, path, who, what, desk.show, Description)
    what, most = "Say what it is, in markdown; for maintainers", DESCRIPTION_BYTES_MAX
    yield ApiRoute(PUT, path, who, what, desk.put, Description, takes=takes, body_bytes_max=most)


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
    yield ApiRoute(GET, one, who, what, desk.show, OrganisationShown)
    what = "Say what repositories are that come into being there"
    yield ApiRoute(PUT, one, who, what, desk.change, OrganisationShown, takes=state)
    what = "Remove an organisation, and delete its repositories"
    yield ApiRoute(DELETE, one, who, what, desk.remove, OrganisationRemoved)
    what, path = "Say who may pull from a repository without a role", "/visibility/{name}"
    yield ApiRoute(GET, path, who, "Who may, with its ETag", desk.get_visibility, state)
    query = {"create": "1: make an empty repository, where there is none of that name."}
    yield ApiRoute(PUT, path, who, what, desk.put_visibility, state, takes=state, query=query)


def _of_quotas(desk: QuotaDesk) -> Iterable[ApiRoute]:
    admin, one = Who.ADMINISTRATOR, "/quotas/{name}"
    what = "Namespaces that have a quota or another limit, by name, and what they use"
    yield ApiRoute(GET, "/quotas", admin, what, desk.list, QuotaPage, query=PAGE)
    what = "What a namespace may have, and has; for owners"
    yield ApiRoute(GET, one, Who.USER, what, desk.show, QuotaRow)
    what = "Say what a namespace may have"
    yield ApiRoute(PUT, one, admin, what, desk.change, QuotaRow, takes=NewLimits)
    what, month = "What namespaces kept in a month, and what was pulled of them, by name", OF_MONTH
    yield ApiRoute(GET, "/usage", admin, what, desk.of_month, UsagePage, query=month)
    what = "What a namespace kept by month, and what was pulled of it; for maintainers"
    yield ApiRoute(GET, "/usage/{name}", Who.USER, what, desk.of_namespace, UsageList)
    what = "What holds for namespaces, and accounts, without a limit of their own"
    yield ApiRoute(GET, "/limits", admin, what, desk.defaults, ClusterLimits)
    what = "Say what holds for those without a limit of their own"
    yield ApiRoute(
        PUT, "/limits", admin, what, desk.put_defaults, ClusterLimits, takes=NewClusterLimits
    )


def _of_purges(desk: PurgeDesk) -> Iterable[ApiRoute]:
    what = "Take away for good what was deleted; for maintainers"
    yield ApiRoute(POST, "/purges", Who.USER, what, desk.purge, Purged, takes=NewPurge)


def _of_rules(desk: RuleDesk) -> Iterable[ApiRoute]:
    """Yield them: of the cluster, and of what has a name."""
    who, without = Who.USER, {"without": "The number of a rule: what would go without it."}
    query = {
        "rule": "The number of the rule.",
        "confirmed_digest": "Of the plan without it, if other rules would have tags go then.",
    }
    for path, of in (("", "the cluster"), ("/{name}", "a repository, or a namespace")):
        what = f"Which tags stay as they are, and which go after a while: the rules of {of}"
        yield ApiRoute(GET, f"/rules{path}", who, what, desk.list, RuleList)
        what = f"Make a rule of {of}"
        yield ApiRoute(POST, f"/rules{path}", who, what, desk.add, RuleRow, takes=NewRule)
        what = f"What the rules of {of} would remove now, if that was confirmed"
        yield ApiRoute(GET, f"/retention{path}", who, what, desk.plan, RetentionPlan, query=without)
        what = f"Have the rules of {of} remove tags, from now on, once a plan was looked at"
        gives, takes = RetentionPlan, Confirmation
        yield ApiRoute(POST, f"/retention{path}", who, what, desk.confirm, gives, takes=takes)
        what = f"Remove a rule of {of}"
        yield ApiRoute(DELETE, f"/rules{path}", who, what, desk.remove, RuleRow, query=query)
    what, query = "What becomes of a tag, by which rule, and when", {"tag": "The tag."}
    path, told = "/explain/{name}", Explanation
    yield ApiRoute(GET, path, who, what, desk.explain, told, query=query, robots=True)


def _of_users(desk: UserDesk) -> Iterable[ApiRoute]:
    who, admin, one = Who.USER, Who.ADMINISTRATOR, "/users/{user}"
    what = "Set the password of an account; not for whoever shows an access token"
    path = f"{one}/password"
    yield ApiRoute(PUT, path, who, what, desk.set_password, UserRow, takes=NewPassword)
    what = "Accounts, by name"
    yield ApiRoute(GET, "/users", admin, what, desk.list, UserPage, query=PAGE)
    what = "Make an account; not for whoever shows an access token"
    yield ApiRoute(POST, "/users", admin, what, desk.add, UserRow, takes=NewUser)
    yield ApiRoute(GET, one, who, "One account", desk.show, UserRow)
    what = "Remove an account and its access tokens; its repositories stay"
    query = {"give_to": "The namespace that gets its repositories."}
    yield ApiRoute(DELETE, one, admin, what, desk.remove, UserRow, query=query)


def _of_tokens(desk: TokenDesk) -> Iterable[ApiRoute]:
    who, query = Who.USER, PAGE | {"user": "Whose, for administrators; else the caller's."}
    what = "Access tokens of the caller, oldest first"
    yield ApiRoute(GET, "/tokens", who, what, desk.list, TokenPage, query=query)
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
    query = PAGE | {"namespace": "Those of one namespace."}
    yield ApiRoute(GET, "/hooks", who, what, desk.list, HookPage, query=query)
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
        robots=True,
    )


def _of_the_audit_log(desk: AuditDesk) -> Iterable[ApiRoute]:
    what = (
        "Who did what, from which address; of a namespace for its owners, of all for administrators"
    )
    yield ApiRoute(
        GET, "/audit", Who.USER, what, desk.read, AuditPage, query=AUDIT, streams=(AUDIT_LINES,)
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
