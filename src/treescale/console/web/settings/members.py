"""`/NAMESPACE/-/members`: who has which role there, for which repositories."""

from typing import Any

from treescale.auth.roles import EVERY_REPOSITORY, Permission, Role
from treescale.console.organisations import MemberRow
from treescale.console.route import segment
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import rights_of, sent, shown
from treescale.errors import Refused


async def show(visit: Visit) -> Page:
    """Show it to owners; to other members how to leave."""
    return await _page(visit)


async def grant(visit: Visit) -> Page | Moved:
    """Give a role, in place of the one for the same repositories."""
    namespace, user = visit.parameters["namespace"], visit.form.get("user", "").strip()
    body = {
        "role": visit.form.get("role", ""),
        "repository": visit.form.get("repository", "").strip() or EVERY_REPOSITORY,
    }
    path = f"/organisations/{segment(namespace)}/members/{segment(user or '-')}"
    return await sent(
        visit.api("PUT", path, body=body),
        lambda error: _page(visit, error),
        f"/{namespace}/-/members?done=members_granted",
    )


async def revoke(visit: Visit) -> Page | Moved:
    """Take a role away, or leave."""
    namespace, user = visit.parameters["namespace"], visit.form.get("user", "")
    query = {"repository": visit.form["repository"]} if "repository" in visit.form else {}
    path = f"/organisations/{segment(namespace)}/members/{segment(user or '-')}"
    here = f"/{namespace}/-/members?done=members_revoked"
    return await sent(
        visit.api("DELETE", path, query=query),
        lambda error: _page(visit, error),
        here if user != visit.me.user else "/?done=members_left",
    )


async def _page(visit: Visit, error: Refused | None = None) -> Page:
    namespace = visit.parameters["namespace"]
    row = await visit.api("GET", f"/organisations/{segment(namespace)}")
    rights = await rights_of(visit)
    members: list[MemberRow] = []
    if rights.may(namespace, Permission.MEMBERS):
        path = f"/organisations/{segment(namespace)}/members"
        members = (await visit.api("GET", path)).members
    values: dict[str, Any] = {
        "namespace": namespace,
        "row": row,
        "members": members,
        "leaves": namespace in rights.held,
        "roles": [role.value for role in Role],
        "given": visit.form,
        **rights.tabs(namespace),
    }
    return shown("settings/members.html", values, error)
