"""Home, and search: where somebody who has just signed in begins."""

from dataclasses import dataclass
from typing import Final

from treescale.console.web.commands import Host, push_commands
from treescale.console.web.content.links import SEARCH, with_query
from treescale.console.web.page import Moved, Page, Visit
from treescale.errors import RequestInvalid

RECENT_SHOWN: Final = "20"
FOUND_SHOWN: Final = "30"


@dataclass(frozen=True, slots=True)
class HomePages:
    """What answers for home and search."""

    async def move(self, _: Visit) -> Moved:
        """Lead home from where pages of ours are."""
        return Moved("/")

    async def show(self, visit: Visit) -> Page:
        """Show one's own repositories, those first that were pushed to last; and organisations."""
        recent = await visit.api("GET", "/recent", query={"n": RECENT_SHOWN})
        account = await visit.api("GET", "/account")
        roles: dict[str, str] = {}
        for one in account.roles:
            text = one.role if one.repository == "*" else f"{one.role} ({one.repository})"
            roles[one.namespace] = ", ".join(filter(None, [roles.get(one.namespace), text]))
        user = visit.me.user
        values = {
            "repositories": recent.repositories,
            "organisations": sorted(roles.items()),
            "commands": push_commands(Host.of(visit.place.origin), user, user),
        }
        return Page("content/home.html", values)

    async def search(self, visit: Visit) -> Page:
        """Show what was found of a piece of a name."""
        wanted, after = visit.query.get("q", "").strip(), visit.query.get("after", "")
        wanted = _without_host(wanted, Host.of(visit.place.origin).name)
        found, problem = None, ""
        if wanted:
            query = {"q": wanted, "n": FOUND_SHOWN} | ({"after": after} if after else {})
            try:
                found = await visit.api("GET", "/search", query=query)
            except RequestInvalid as error:
                problem = str(error)
        further = "" if found is None or found.next is None else found.next
        values = {
            "searched": wanted[:300],
            "found": found,
            "is_first": not after,
            "further": further and with_query(SEARCH, {"q": wanted, "after": further}),
            "problem": problem,
        }
        return Page("content/search.html", values, 400 if problem else 200)


def _without_host(wanted: str, host: str) -> str:
    """Return what is searched for of a name as clients have it: `host/namespace/name:tag`."""
    return wanted.removeprefix("https://").removeprefix("http://").removeprefix(f"{host}/")
