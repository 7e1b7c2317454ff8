"""`/NAMESPACE/NAME/-/settings`: a repository's description, visibility and name."""

from typing import Any

from treescale.auth.roles import Permission
from treescale.console.quotas import QuotaRow
from treescale.console.repositories import RepositoryShown
from treescale.console.route import segment
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import rights_of, sent, shown, told
from treescale.errors import Refused
from treescale.oci.names import namespace_of


async def show(visit: Visit) -> Page:
    """Show it to its maintainers."""
    return await _page(visit)


async def describe(visit: Visit) -> Page | Moved:
    """Have it say something else of itself."""
    body = {"description": visit.form.get("description", "")}
    return await _put(visit, "descriptions", body, "settings_described")


async def set_visibility(visit: Visit) -> Page | Moved:
    """Say who pulls from it without a role."""
    body = {"visibility": visit.form.get("visibility", "")}
    return await _put(visit, "visibility", body, "settings_visibility")


async def set_read_only(visit: Visit) -> Page | Moved:
    """Have it be read-only, or end that."""
    body = {"read_only": visit.form.get("read_only") == "on"}
    return await _put(visit, "read-only", body, "settings_read_only")


async def move(visit: Visit) -> Page | Moved:
    """Give it another name."""
    new = visit.form.get("new", "").strip()
    body = {"old": visit.parameters["name"], "new": new, "force": "force" in visit.form}
    moved = await told(visit.api("POST", "/moves", body=body))
    if isinstance(moved, Refused):
        return await _page(visit, moved)
    return Moved(f"/{moved.new}/-/settings?done=settings_moved")


async def _put(visit: Visit, what: str, body: object, done: str) -> Page | Moved:
    name = visit.parameters["name"]

    async def again(error: Refused) -> Page:
        return await _page(visit, error)

    work = visit.api("PUT", f"/{what}/{segment(name)}", body=body)
    return await sent(work, again, f"/{name}/-/settings?done={done}")


async def _page(visit: Visit, error: Refused | None = None) -> Page:
    name = visit.parameters["name"]
    row: RepositoryShown = await visit.api("GET", f"/repositories/{segment(name)}")
    rights = await rights_of(visit)
    rights.check(name, Permission.DESCRIPTION)
    quota: QuotaRow | None = None
    namespace = namespace_of(name)
    if rights.may(namespace, Permission.SETTINGS):
        quota = await visit.api("GET", f"/quotas/{segment(namespace)}")
    values: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "row": row,
        "description": visit.form.get("description", row.description),
        "new_name": visit.form.get("new", ""),
        "quota": quota,
        **rights.tabs(name),
    }
    return shown("settings/repository.html", values, error)
