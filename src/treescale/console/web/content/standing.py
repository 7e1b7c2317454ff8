"""What whoever has a page open may do in a namespace: which tabs and buttons are shown.

The management API decides; what is not shown would be refused by it.
"""

from dataclasses import dataclass
from typing import Final

from treescale.auth.roles import EVERY_REPOSITORY
from treescale.console.web.page import Visit

_OWNER: Final = "owner"
_MAINTAINER: Final = "maintainer"
_WRITER: Final = "writer"


@dataclass(frozen=True, slots=True)
class NamespaceStanding:
    """What is known of the visitor in a namespace."""

    maintains: bool = False
    owns: bool = False
    pushes: bool = False
    """Whether new repositories are theirs to make, whatever they call them."""
    is_member: bool = False
    """Whether there is any role, also for some repositories alone."""


async def standing_in(visit: Visit, namespace: str) -> NamespaceStanding:
    """Return what the visitor may do in a namespace."""
    if visit.signed_in is None:
        return NamespaceStanding()
    me = visit.signed_in
    if me.user == namespace:
        return NamespaceStanding(maintains=True, owns=True, pushes=True, is_member=True)
    account = await visit.api("GET", "/account")
    roles = [one for one in account.roles if one.namespace == namespace]
    of_all = {one.role for one in roles if one.repository == EVERY_REPOSITORY}
    manages = me.session.is_administrator
    return NamespaceStanding(
        maintains=manages or bool(of_all & {_OWNER, _MAINTAINER}),
        owns=manages or _OWNER in of_all,
        pushes=bool(of_all & {_OWNER, _MAINTAINER, _WRITER}),
        is_member=manages or bool(roles),
    )
