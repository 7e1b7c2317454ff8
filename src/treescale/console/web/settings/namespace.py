"""`/NAMESPACE/-/settings`: a namespace's description, visibility, quota and usage."""

from typing import Any

from treescale.auth.roles import Permission
from treescale.console.organisations import OrganisationShown
from treescale.console.quotas import QuotaRow, UsageList
from treescale.console.route import segment
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import rights_of, sent, shown
from treescale.console.web.texts import TEXTS
from treescale.errors import Refused, RequestInvalid
from treescale.metadata.namespaces import ORGANISATION


async def show(visit: Visit) -> Page:
    """Show it to maintainers; owners may change more."""
    return await _page(visit)


async def describe(visit: Visit) -> Page | Moved:
    """Have it say something else of itself."""
    body = {"description": visit.form.get("description", "")}
    return await _put(visit, "descriptions", body, "settings_described")


async def set_visibility(visit: Visit) -> Page | Moved:
    """Say what repositories are that come into being there."""
    body = {"visibility": visit.form.get("visibility", "")}
    return await _put(visit, "organisations", body, "settings_default")


async def set_read_only(visit: Visit) -> Page | Moved:
    """Have all in it be read-only, or end that."""
    body = {"read_only": visit.form.get("read_only") == "on"}
    return await _put(visit, "read-only", body, "settings_read_only")


async def remove(visit: Visit) -> Page | Moved:
    """Remove the organisation, for who has typed its name."""
    name = visit.parameters["namespace"]
    if visit.form.get("name", "").strip() != name:
        return await _page(visit, RequestInvalid(TEXTS["settings_type_name"].format(name=name)))

    async def again(error: Refused) -> Page:
        return await _page(visit, error)

    work = visit.api("DELETE", f"/organisations/{segment(name)}")
    return await sent(work, again, "/?done=settings_removed")


async def _put(visit: Visit, what: str, body: object, done: str) -> Page | Moved:
    name = visit.parameters["namespace"]

    async def again(error: Refused) -> Page:
        return await _page(visit, error)

    work = visit.api("PUT", f"/{what}/{segment(name)}", body=body)
    return await sent(work, again, f"/{name}/-/settings?done={done}")


async def _page(visit: Visit, error: Refused | None = None) -> Page:
    name = visit.parameters["namespace"]
    path = segment(name)
    row: OrganisationShown = await visit.api("GET", f"/organisations/{path}")
    rights = await rights_of(visit)
    rights.check(name, Permission.DESCRIPTION)
    quota: QuotaRow | None = None
    is_read_only = False
    if rights.may(name, Permission.SETTINGS):
        quota = await visit.api("GET", f"/quotas/{path}")
    if rights.is_administrator:
        is_read_only = (await visit.api("GET", f"/read-only/{path}")).read_only
    usage: UsageList = await visit.api("GET", f"/usage/{path}")
    values: dict[str, Any] = {
        "namespace": name,
        "row": row,
        "description": visit.form.get("description", row.description),
        "quota": quota,
        "months": [*reversed(usage.months)],
        "is_read_only": is_read_only,
        "is_organisation": row.kind == ORGANISATION,
        **rights.tabs(name),
    }
    return shown("settings/namespace.html", values, error)
