"""Roles, visibilities, and the rights that each gives. Pure.

A namespace is a user's or an organisation's. Who is granted a role in it holds that for all of it,
or for the repositories that match a glob, in several grants if need be: rights add up, and nothing
is ever taken away by one. A role has the rights of all those below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.auth.scopes import Action


class Role(StrEnum):
    """What a member is, the least first."""

    READER = "reader"
    WRITER = "writer"
    MAINTAINER = "maintainer"
    OWNER = "owner"


class Visibility(StrEnum):
    """Who may pull without a role."""

    PRIVATE = "private"
    INTERNAL = "internal"
    """Whoever is signed in."""
    PUBLIC = "public"
    """Anybody."""


class Permission(StrEnum):
    """A right in a namespace that is none on the content of its repositories."""

    VISIBILITY = "visibility"
    """To say who may pull from a repository without a role."""
    DESCRIPTION = "description"
    """To say what a repository, or the namespace, is."""
    HOOKS = "hooks"
    """To make, change and remove webhooks."""
    ROBOTS = "robots"
    """To make, change and remove robots, with no more than one has oneself."""
    RULES = "rules"
    """To say which tags stay as they are, and which go after a while."""
    HISTORY = "history"
    """To see all events of its repositories, deleted ones included."""
    PURGE = "purge"
    """To take away for good what was deleted in its repositories."""
    MEMBERS = "members"
    """To grant and revoke roles, and to see events of that and of tokens."""
    SETTINGS = "settings"
    """To change what holds for the namespace as a whole."""
    REMOVAL = "removal"
    """To remove the organisation."""
    AUDIT = "audit"
    """To read who did what there, and from which address."""


Allowed = Action | Permission
_READER: Final[frozenset[Allowed]] = frozenset({Action.PULL})
_WRITER: Final[frozenset[Allowed]] = _READER | {Action.PUSH}
_MAINTAINER: Final[frozenset[Allowed]] = _WRITER | {
    Action.DELETE,
    Permission.VISIBILITY,
    Permission.DESCRIPTION,
    Permission.HOOKS,
    Permission.RULES,
    Permission.HISTORY,
    Permission.ROBOTS,
    Permission.PURGE,
}
_OWNER: Final[frozenset[Allowed]] = _MAINTAINER | {
    Permission.MEMBERS,
    Permission.SETTINGS,
    Permission.REMOVAL,
    Permission.AUDIT,
}
ALLOWS: Final[Mapping[Role, frozenset[Allowed]]] = {
    Role.READER: _READER,
    Role.WRITER: _WRITER,
    Role.MAINTAINER: _MAINTAINER,
    Role.OWNER: _OWNER,
}
"""What each role gives."""
EVERY_REPOSITORY: Final = "*"
"""The glob of a grant for all of a namespace."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for the repositories whose whole names match the glob."""

    role: Role
    repository: str = EVERY_REPOSITORY

    @property
    def is_for_all(self) -> bool:
        """Return whether it is for the namespace itself, too, and not for some repositories."""
        return self.repository == EVERY_REPOSITORY


@dataclass(frozen=True, slots=True)
class Membership:
    """What somebody was granted in one namespace, as it came into being at `created`.

    The time is the database's, 0 where nobody wrote it down: an organisation of the same name that
    was there before is none of its members'.
    """

    grants: tuple[Grant, ...] = ()
    created: float = 0.0


Memberships = Mapping[str, Membership]
"""What somebody was granted, by the name of the namespace."""
NO_MEMBER: Final = Membership()
