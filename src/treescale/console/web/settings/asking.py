"""What pages of settings have in common: what was refused is said beside the form."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from treescale.auth.policy import Principal, Standing, may
from treescale.auth.roles import NO_MEMBER, Grant, Membership, Memberships, Permission, Role
from treescale.console.accounts.account import Account
from treescale.console.problems import status_of
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.texts import TEXTS
from treescale.errors import Forbidden, Refused
from treescale.oci.names import namespace_of

Given = TypeVar("Given")
Again = Callable[[Refused], Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class Rights:
    """What who has the page open may do, beside pulling and pushing."""

    principal: Principal
    is_administrator: bool
    held: Memberships

    def may(self, name: str, permission: Permission) -> bool:
        """Return whether they may, in a repository or a namespace."""
        grants = self.held.get(namespace_of(name), NO_MEMBER).grants
        standing = Standing(grants=grants, is_administrator=self.is_administrator)
        return may(self.principal, name, permission, standing)

    def check(self, name: str, permission: Permission) -> None:
        """Raise Forbidden for who is no maintainer of it, or no owner."""
        if not self.may(name, permission):
            raise Forbidden(TEXTS["settings_not_yours"].format(name=name))

    def tabs(self, name: str) -> Mapping[str, bool]:
        """Return what the tabs of a page go by."""
        return {
            "maintains": self.may(name, Permission.DESCRIPTION),
            "owns": self.may(name, Permission.MEMBERS),
        }


async def rights_of(visit: Visit) -> Rights:
    """Return what the API says of who has the page open."""
    account: Account = await visit.api("GET", "/account")
    grants: dict[str, list[Grant]] = {}
    for one in account.roles:
        grants.setdefault(one.namespace, []).append(Grant(Role(one.role), one.repository))
    held = {name: Membership(tuple(given)) for name, given in grants.items()}
    return Rights(visit.me.principal, visit.me.session.is_administrator, held)


async def told(work: Awaitable[Given]) -> Given | Refused:
    """Return what came of it, or why it was refused."""
    try:
        return await work
    except Refused as error:
        return error


async def sent(work: Awaitable[object], again: Again, to: str) -> Page | Moved:
    """Go on where it was done; where it was refused show the page again, which says why."""
    done = await told(work)
    return await again(done) if isinstance(done, Refused) else Moved(to)


def shown(template: str, values: Mapping[str, Any], error: Refused | None = None) -> Page:
    """Return a page, which says what was refused."""
    if error is None:
        return Page(template, values)
    return Page(template, {**values, "problem": str(error)}, status_of(error))


def proving(visit: Visit, here: str) -> Mapping[str, Any]:
    """Return what a form goes by that makes a secret."""
    session = visit.me.session
    return {"is_fresh": visit.me.is_fresh, "has_password": session.has_password, "here": here}


def check_fresh(visit: Visit) -> Refused | None:
    """Return why no secret is made, to who has signed in a while ago."""
    return None if visit.me.is_fresh else Forbidden(TEXTS["prove"])


def words(text: str) -> list[str]:
    """Return what stands between commas, blanks and ends of lines."""
    return text.replace(",", " ").split()
