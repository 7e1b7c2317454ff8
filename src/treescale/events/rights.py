"""Who is shown which event, judged as it is read. Pure: the facts come in as arguments.

Administrators are shown everything, and the owners of a namespace all that is of it, also what is
deleted. Maintainers are shown everything of their repositories, deleted or not, of webhooks, of
robots, and of rules for tags.
Whoever may pull from a repository is shown what became of its images, since it is there; by whom is
for members alone. Of a user or an organisation that had the name before nothing is shown.
"""

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from treescale.auth.policy import Principal, Standing, may, permitted
from treescale.auth.roles import NO_MEMBER, Membership, Memberships, Permission, Visibility
from treescale.auth.scopes import Action
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.records import Repository

OF_IMAGES: Final = frozenset(
    {
        "image.pushed",
        "tag.moved",
        "image.deleted",
        "image.restored",
        "referrer.added",
        "tag.deleted",
    }
)
"""Kinds that strangers are shown of a repository that they may pull from."""
EVERYWHERE: Final = "*"
"""The glob of an access token that is for no certain repositories."""


OF_MAINTAINERS: Final = {
    "hook.": Permission.HOOKS,
    "quota.": Permission.HISTORY,
    "robot.": Permission.ROBOTS,
    "rule.": Permission.RULES,
}
"""How kinds begin that maintainers of a whole namespace are shown, beside those of repositories,
and the right that has them be shown."""
OF_REPOSITORIES: Final = ("image.", "tag.", "referrer.", "repository.", "retention.")
"""How kinds begin that are never of anything but a repository."""
_WILD: Final = re.compile(r"[*?\[]")


def is_for_maintainers(kinds: str) -> bool:
    """Say whether maintainers of a whole namespace are shown all that a glob of kinds matches."""
    return _WILD.split(kinds)[0].startswith((*OF_REPOSITORIES, *OF_MAINTAINERS))


@dataclass(frozen=True, slots=True)
class Reader:
    """Whoever reads, and what she was granted, by namespace."""

    principal: Principal
    is_administrator: bool = False
    held: Memberships = field(default_factory=dict)
    begun: float = 0.0
    """When the account came into being: who had its name before is somebody else."""


def shown(reader: Reader, event: Recorded, repository: Repository | None) -> Recorded | None:
    """Return the event as the reader may see it, None when it is none of hers.

    `repository` is the one of the event's name as it is now, None when there is none.
    """
    principal = reader.principal
    if principal.anonymous or _is_narrowed_away(principal, event):
        return None
    is_own = event.namespace == principal.user and event.at >= reader.begun
    if reader.is_administrator or is_own:
        return event
    member = reader.held.get(event.namespace or "", NO_MEMBER)
    if member.grants and event.at >= member.created and _is_for_member(reader, event, member):
        return event
    if event.kind not in OF_IMAGES or repository is None or event.at < repository.created:
        return None
    standing = Standing(Visibility(repository.visibility), member.grants)
    if Action.PULL not in permitted(_person(principal), repository.name, standing):
        return None
    is_member = _may_pull_by_role(principal, repository, member)
    return event if is_member else replace(event, actor="", request_id=None)


def _is_for_member(reader: Reader, event: Recorded, member: Membership) -> bool:
    """Say whether a role shows the event whatever became of its repository."""
    person, standing = _person(reader.principal), Standing(grants=member.grants)
    assert event.namespace is not None, "members are of a namespace"
    if may(person, event.namespace, Permission.MEMBERS, standing):
        return True
    if event.repository is not None:
        return may(person, event.repository, Permission.HISTORY, standing)
    asked = [right for begins, right in OF_MAINTAINERS.items() if event.kind.startswith(begins)]
    return any(may(person, event.namespace, right, standing) for right in asked)


def _may_pull_by_role(principal: Principal, repository: Repository, member: Membership) -> bool:
    """Say whether she is no stranger there: members are told who did it."""
    standing = Standing(grants=member.grants)
    return Action.PULL in permitted(_person(principal), repository.name, standing)


def _person(principal: Principal) -> Principal:
    """Return whose the credential is: a person's for events has no repository."""
    return principal.person


def _is_narrowed_away(principal: Principal, event: Recorded) -> bool:
    """Say whether an access token for certain repositories leaves the event out."""
    glob = principal.repository_glob
    if glob == EVERYWHERE:
        return False
    return event.repository is None or not fnmatchcase(event.repository, glob)
