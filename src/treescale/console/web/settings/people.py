"""`/-/people`, `/-/organisations/new` and `/-/invite`: what administrators do for others."""

from typing import Any, Final
from urllib.parse import quote

from treescale.auth.roles import Role
from treescale.console.accounts.people import LinkMade
from treescale.console.route import segment
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.settings.asking import proving, sent, shown, told
from treescale.errors import Refused

PEOPLE: Final = "/-/people"
SHOWN: Final = "50"


async def show(visit: Visit) -> Page:
    """Show who has an account, and who was invited."""
    return await _people(visit)


async def reset(visit: Visit) -> Page:
    """Make a link with which somebody sets another password; show it this once."""
    made = await told(visit.api("POST", f"/users/{_user(visit)}/reset"))
    if isinstance(made, Refused):
        return await _people(visit, made)
    return _link(visit, made, "people_reset_link")


async def suspend(visit: Visit) -> Page | Moved:
    """Have nothing of an account count, or end that."""
    is_off = visit.form.get("suspended") == "1"
    return await sent(
        visit.api("PUT", f"/users/{_user(visit)}/suspended", body={"suspended": is_off}),
        lambda error: _people(visit, error),
        f"{PEOPLE}?done=people_{'suspended' if is_off else 'restored'}",
    )


async def withdraw(visit: Visit) -> Page | Moved:
    """Have an invitation lead nowhere."""
    wanted = segment(visit.form.get("invitation", "") or "-")
    return await sent(
        visit.api("DELETE", f"/invitations/{wanted}"),
        lambda error: _people(visit, error),
        f"{PEOPLE}?done=people_withdrawn",
    )


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
    return _link(visit, made, "people_invited")


async def _people(visit: Visit, error: Refused | None = None) -> Page:
    after = visit.query.get("after", "")
    users = await visit.api(
        "GET", "/users", query={"n": SHOWN, **({"after": after} if after else {})}
    )
    values: dict[str, Any] = {
        "users": users.users,
        "invitations": (await visit.api("GET", "/invitations")).invitations,
        "further": users.next and f"{PEOPLE}?after={quote(users.next)}",
        **proving(visit, PEOPLE),
    }
    return shown("settings/people.html", values, error)


def _user(visit: Visit) -> str:
    return segment(visit.form.get("user", "") or "-")


def _link(visit: Visit, made: LinkMade, title: str) -> Page:
    """Show a link that is good once: as an invitation, or for another password."""
    link = made.url or f"{visit.place.origin}{made.path}"
    return Page("settings/invited.html", {"made": made, "link": link, "says": title})


def _new(visit: Visit, error: Refused | None = None) -> Page:
    return shown("settings/new_organisation.html", {"given": visit.form}, error)


def _invite(visit: Visit, error: Refused | None = None) -> Page:
    values: dict[str, Any] = {
        "given": visit.form,
        "roles": [role.value for role in Role],
        **proving(visit, "/-/invite"),
    }
    return shown("settings/invite.html", values, error)
