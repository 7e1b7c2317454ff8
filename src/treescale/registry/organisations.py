"""Organisations, roles and visibility: what administration does with them.

Whether the caller may is asked of `auth.policy` by whoever calls; a command on the database may.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from treescale.auth.roles import (
    EVERY_REPOSITORY,
    Grant,
    Membership,
    Memberships,
    Role,
    Visibility,
)
from treescale.errors import NamespaceUnknown, NameUnknown, RequestInvalid
from treescale.metadata.database import Database
from treescale.metadata.namespaces import ORGANISATION
from treescale.metadata.organisations import Holding, Member, Namespace
from treescale.oci.names import (
    NAME_CHARACTERS_MAX,
    check_namespace,
    check_new_namespace,
    check_repository,
    namespace_of,
)
from treescale.registry.naming.nearest import check_owned

PAGE_SIZE: Final = 500
_GLOB: Final = re.compile(r"[a-z0-9._/*?-]+")


class OrganisationService:
    """Creates, changes and removes organisations, and grants roles in them.

    Roles can be granted in a user's namespace, too. Everything raises NamespaceUnknown for a name
    that is nobody's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._organisations = database.organisations

    async def add(self, name: str, owner: str, *, actor: str) -> None:
        """Create one; raises NameInvalid, UserExists (the name is taken), UserUnknown."""
        await self._organisations.add(check_new_namespace(name), owner, actor=actor)

    async def get(self, name: str) -> Namespace:
        """Return an organisation, or a user's namespace."""
        return await self._organisations.get(name)

    async def page(self, after: str, limit: int, *, user: str | None = None) -> list[Namespace]:
        """Return a page of the organisations by name; with `user` of those she has a role in."""
        return await self._organisations.page(after, limit, user=user)

    async def each(self) -> AsyncIterator[Namespace]:
        """Yield all organisations by name."""
        after = ""
        while page := await self._organisations.page(after, PAGE_SIZE):
            for one in page:
                yield one
            after = page[-1].name

    async def members(self, name: str) -> list[Member]:
        """Return everything that was granted in a namespace, by user."""
        found: list[Member] = []
        after = ("", "")
        while page := await self._organisations.members(name, after, PAGE_SIZE):
            found += page
            after = (page[-1].user, page[-1].repository)
        return found

    async def grant(
        self, name: str, user: str, role: str, *, actor: str, repository: str = EVERY_REPOSITORY
    ) -> None:
        """Grant a role, for repositories that match a glob if one is given.

        A role that the user had for this glob is replaced. Raises RequestInvalid, UserUnknown,
        LastOwner.
        """
        wanted = parse_role(role)
        check_glob(name, repository)
        if wanted is Role.OWNER and repository != EVERY_REPOSITORY:
            raise RequestInvalid("an owner is one of all of it: leave the pattern out")
        await self._organisations.grant(
            name, user, role=wanted.value, repository=repository, actor=actor
        )

    async def revoke(
        self, name: str, user: str, *, actor: str, repository: str | None = None
    ) -> None:
        """Take all roles of a user away there, or the one for this glob.

        Raises LastOwner, and UserUnknown when there is none.
        """
        await self._organisations.revoke(name, user, repository=repository, actor=actor)

    async def set_default(
        self,
        name: str,
        visibility: str,
        *,
        actor: str,
        check: Callable[[Namespace], None] | None = None,
    ) -> None:
        """Say what new repositories of a namespace are; raises RequestInvalid, what `check` does.

        `check` is given the namespace as it is in the transaction that changes it.
        """
        wanted = parse_visibility(visibility)
        await self._organisations.set_visibility(name, wanted.value, actor=actor, check=check)

    async def set_visibility(
        self,
        repository: str,
        visibility: str,
        *,
        actor: str,
        create: bool = True,
        check: Callable[[str], None] | None = None,
    ) -> None:
        """Say who may pull without a role; raises RequestInvalid, NameInvalid, what `check` does.

        `check` is given the visibility in the transaction that changes it, "" for a repository that
        is made there.

        Without `create` NameUnknown when there is no such repository; none is made in a namespace
        that is nobody's (NamespaceUnknown).
        """
        wanted = parse_visibility(visibility)
        check_repository(repository)
        repositories = self._database.repositories
        try:
            await repositories.get(repository)
        except NameUnknown:
            if not create:
                raise
            await check_owned(self._database, namespace_of(repository))
        now = await self._database.servers.now()
        await repositories.set_visibility(
            repository, wanted.value, now=now, actor=actor, check=check
        )

    async def repositories(self, name: str) -> list[str]:
        """Return the names of what is in a namespace."""
        found: list[str] = []
        begin = f"{check_namespace(name)}/"
        after = begin
        while page := await self._database.repositories.list_all(after, PAGE_SIZE):
            found += [one.name for one in page if one.name.startswith(begin)]
            after = page[-1].name
            if not after.startswith(begin):
                break
        return found

    async def to_remove(self, name: str) -> list[str]:
        """Return the repositories that go with an organisation, and with nothing else."""
        found = await self._organisations.get(name)
        if found.kind != ORGANISATION:
            raise NamespaceUnknown(
                f"{name} is a user, and no organisation: `treescale user remove {name}` removes it"
            )
        return await self.repositories(name)

    async def remove(self, name: str, *, actor: str) -> list[str]:
        """Remove an organisation, and delete its repositories: they can be restored for a while.

        Returns their names. What is pushed meanwhile is deleted, too, or refused. Raises ReadOnly.
        """
        deleted: list[str] = []
        for repository in await self.to_remove(name):
            try:
                await self._database.repositories.delete(repository, actor=actor, force=True)
            except NameUnknown:
                continue
            deleted.append(repository)
        left = await self._organisations.remove(name, actor=actor)
        for repository in left:
            self._database.repositories.forget(repository)
        return sorted({*deleted, *left})


async def memberships_of(database: Database, user: str) -> Memberships:
    """Return what a user was granted, by namespace."""
    found: Mapping[str, Holding] = await database.organisations.holdings(user)
    return {name: membership_of(held) for name, held in found.items()}


def membership_of(held: Holding) -> Membership:
    """Return rows as the policy takes them; a role of a later version is none."""
    grants = tuple(Grant(Role(role), glob) for role, glob in held.grants if role in _ROLES)
    return Membership(grants, held.created)


_ROLES: Final = frozenset(role.value for role in Role)


def parse_role(text: str) -> Role:
    """Return the role; raises RequestInvalid."""
    if text not in _ROLES:
        raise RequestInvalid(f"{text!r} is not a role: say reader, writer, maintainer or owner")
    return Role(text)


def parse_visibility(text: str) -> Visibility:
    """Return the visibility; raises RequestInvalid."""
    if text not in [each.value for each in Visibility]:
        raise RequestInvalid(
            f"{text!r} is not a visibility: say private, internal (whoever is signed in pulls) or "
            "public"
        )
    return Visibility(text)


def check_glob(namespace: str, glob: str) -> None:
    """Raise RequestInvalid for a pattern that no repository of the namespace can match."""
    if len(glob) > NAME_CHARACTERS_MAX or _GLOB.fullmatch(glob) is None:
        raise RequestInvalid(
            "a repository pattern is made of the characters of a name, * (anything) and ?"
        )
    if not fnmatchcase(namespace, glob.partition("/")[0]):
        raise RequestInvalid(
            f"the pattern {glob} matches no repository of {namespace}: it is compared with whole "
            f"names, such as {namespace}/app or {namespace}/web-*"
        )
