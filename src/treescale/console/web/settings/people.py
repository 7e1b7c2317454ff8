"""`/-/organisations/new` and `/-/invite`: what administrators make for others."""

from typing import Any

from treescale.auth.roles import Role
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import proving, sent, shown, told
from treescale.errors import Refused


async def show_new(visit: Visit) -> Page:
    """Show the form for an organisation."""
    return _new(visit)


async def add(visit: Visit) -> Page | Moved:
    """Make an organisation."""
    body = {
        "name": visit.form.get("name", "").strip(),
        "owner": visit.form.get("owner", "").strip(),
    }

    async def again(error: Refused) -> Page:
        return _new(visit, error)

    to = f"/{body['name']}/-/members?done=people_added"
    return await sent(visit.api("POST", "/organisations", body=body), again, to)


async def show_invite(visit: Visit) -> Page:
    """Show the form for an invitation."""
    return _invite(visit)


async def invite(visit: Visit) -> Page:
    """Make a link with which somebody makes an account; show it this once."""
    form = visit.form
    roles = []
    if namespace := form.get("namespace", "").strip():
        roles.append({"namespace": namespace, "role": form.get("role", "")})
    body = {"name": form.get("name", "").strip(), "admin": "admin" in form, "roles": roles}
    made = await told(visit.api("POST", "/invitations", body=body))
    if isinstance(made, Refused):
        return _invite(visit, made)
    link = made.url or f"{visit.place.origin}{made.path}"
    return Page("settings/invited.html", {"made": made, "link": link})


def _new(visit: Visit, error: Refused | None = None) -> Page:
    return shown("settings/new_organisation.html", {"given": visit.form}, error)


def _invite(visit: Visit, error: Refused | None = None) -> Page:
    values: dict[str, Any] = {
        "given": visit.form,
        "roles": [role.value for role in Role],
        **proving(visit, "/-/invite"),
    }
    return shown("settings/invite.html", values, error)
