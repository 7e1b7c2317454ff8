"""`/organisations` and `/visibility`: who shares a namespace, and who may pull without a role."""

from datetime import UTC, datetime

import msgspec

from treescale.auth.policy import Standing, may, permitted
from treescale.auth.roles import EVERY_REPOSITORY, NO_MEMBER, Permission, Visibility
from treescale.auth.scopes import Action
from treescale.console.etags import check_if_match, etag_headers
from treescale.console.route import PREFIX, Answered, Asked
from treescale.errors import (
    Forbidden,
    NameInvalid,
    NamespaceUnknown,
    NameUnknown,
    PageInvalid,
)
from treescale.metadata.database import Database
from treescale.metadata.naming.descriptions import Descriptions
from treescale.metadata.organisations import Member, Namespace
from treescale.oci.names import check_repository, namespace_of
from treescale.oci.pages import link_header, parse_last, parse_page_size
from treescale.registry.organisations import OrganisationService, parse_visibility


class OrganisationRow(msgspec.Struct):
    """An organisation, or a user's namespace; times are of UTC."""

    name: str
    kind: str
    """`organisation` or `user`."""
    visibility: str
    """Of repositories that come into being there."""
    created: datetime | None


class OrganisationShown(OrganisationRow):
    """One alone."""

    description: str
    """What it says of itself, in markdown."""


class OrganisationPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    organisations: list[OrganisationRow]
    next: str | None


class NewOrganisation(msgspec.Struct, forbid_unknown_fields=True):
    """What an organisation is to be."""

    name: str
    owner: str


class VisibilityState(msgspec.Struct, forbid_unknown_fields=True):
    """`private`, `internal` (whoever is signed in pulls) or `public`."""

    visibility: str


class MemberRow(msgspec.Struct):
    """A role of a user, for the repositories whose whole names match a glob."""

    user: str
    role: str
    repository: str
    since: datetime


class MemberList(msgspec.Struct):
    """All roles in a namespace, by user. Whose name it is owns it without a role."""

    members: list[MemberRow]


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    """The role to give: `reader`, `writer`, `maintainer` or `owner`; for all without a glob."""

    role: str
    repository: str = EVERY_REPOSITORY


class OrganisationRemoved(msgspec.Struct):
    """What was removed, and the repositories that were deleted with it: they can be restored."""

    name: str
    repositories: list[str]


class OrganisationDesk:
    """What answers for organisations, roles and visibility."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._service = OrganisationService(database)
        self._descriptions = Descriptions(database.connections)

    async def list(self, asked: Asked) -> Answered:
        """List those in which the caller has a role; administrators all."""
        limit = parse_page_size(_given(asked, "n"))
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        after = parse_last(_given(asked, "after"), "after")
        user = None if asked.is_administrator else asked.principal.user
        found = await self._service.page(after, limit + 1, user=user)
        last = found[limit - 1].name if len(found) > limit else None
        page = OrganisationPage([_row(one) for one in found[:limit]], last)
        link = link_header(f"{PREFIX}/organisations", limit, last, cursor="after") if last else ""
        return Answered(page, {"Link": link} if link else {})

    async def add(self, asked: Asked) -> Answered:
        """Make one."""
        wanted: NewOrganisation = asked.body
        await self._service.add(wanted.name, wanted.owner, actor=asked.principal.user)
        return Answered(_row(await self._service.get(wanted.name)))

    async def show(self, asked: Asked) -> Answered:
        """Show one to whoever has a role there."""
        row = await self._shown(await self._seen(asked))
        return Answered(row, etag_headers(row))

    async def change(self, asked: Asked) -> Answered:
        """Say what new repositories there are."""
        _check(asked, Permission.SETTINGS)
        wanted: VisibilityState = asked.body
        actor = asked.principal.user
        check_if_match(asked, await self._shown(await self._service.get(asked.name)))
        await self._service.set_default(asked.name, wanted.visibility, actor=actor)
        row = await self._shown(await self._service.get(asked.name))
        return Answered(row, etag_headers(row))

    async def remove(self, asked: Asked) -> Answered:
        """Remove one, and delete its repositories."""
        _check(asked, Permission.REMOVAL)
        deleted = await self._service.remove(asked.name, actor=asked.principal.user)
        return Answered(OrganisationRemoved(asked.name, deleted))

    async def members(self, asked: Asked) -> Answered:
        """List the roles in a namespace."""
        _check(asked, Permission.MEMBERS)
        return await self._members(asked.name)

    async def grant(self, asked: Asked) -> Answered:
        """Give a role, in place of the one for the same glob; say what roles there are then."""
        _check(asked, Permission.MEMBERS)
        wanted: NewRole = asked.body
        await self._service.grant(
            asked.name,
            asked.parameters["user"],
            wanted.role,
            repository=wanted.repository,
            actor=asked.principal.user,
        )
        return await self._members(asked.name)

    async def revoke(self, asked: Asked) -> Answered:
        """Take roles away; say what roles there are then. Anybody may leave."""
        user = asked.parameters["user"]
        leaves = user == asked.principal.user and asked.name in asked.held
        if not leaves:
            _check(asked, Permission.MEMBERS)
        await self._service.revoke(
            asked.name,
            user,
            repository=asked.query.get("repository"),
            actor=asked.principal.user,
        )
        return Answered(MemberList([])) if leaves else await self._members(asked.name)

    async def put_visibility(self, asked: Asked) -> Answered:
        """Say who may pull from a repository without a role."""
        wanted: VisibilityState = asked.body
        parse_visibility(wanted.visibility)
        try:
            name = check_repository(asked.name)
        except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
            raise NameInvalid(str(error)) from None
        create = asked.query.get("create", "0") == "1"
        there = await self._check_visibility(asked, name, create=create)
        check_if_match(asked, VisibilityState(there))
        actor = asked.principal.user
        await self._service.set_visibility(name, wanted.visibility, actor=actor, create=create)
        return Answered(wanted, etag_headers(wanted))

    async def get_visibility(self, asked: Asked) -> Answered:
        """Say who may pull from a repository without a role, to who may say so."""
        try:
            name = check_repository(asked.name)
        except NameInvalid as error:  # likewise
            raise NameInvalid(str(error)) from None
        state = VisibilityState(await self._check_visibility(asked, name, create=False))
        return Answered(state, etag_headers(state))

    async def _check_visibility(self, asked: Asked, name: str, *, create: bool) -> str:
        """Return the visibility there is, "" for an absent one that is to be made.

        Raises NameUnknown for what the caller does not see, Forbidden for what is not hers.
        """
        unseen = NameUnknown(f"no repository {name} that you may see")
        try:
            found = await self._database.repositories.get(name)
        except NameUnknown:
            standing = _standing(asked, namespace_of(name))
            if create and may(asked.principal, name, Permission.VISIBILITY, standing):
                return ""
            raise unseen from None
        standing = _standing(asked, namespace_of(name), Visibility(found.visibility))
        if may(asked.principal, name, Permission.VISIBILITY, standing):
            return found.visibility
        if Action.PULL not in permitted(asked.principal.person, name, standing):
            raise unseen
        raise Forbidden(f"a maintainer of {name} may do this")

    async def _seen(self, asked: Asked) -> Namespace:
        if asked.is_administrator:
            return await self._service.get(asked.name)
        if not _is_of(asked):
            raise _unseen(asked.name)
        try:
            return await self._service.get(asked.name)
        except NamespaceUnknown:
            raise _unseen(asked.name) from None

    async def _shown(self, one: Namespace) -> OrganisationShown:
        row = msgspec.structs.asdict(_row(one))
        return OrganisationShown(**row, description=await self._descriptions.of_namespace(one.name))

    async def _members(self, name: str) -> Answered:
        return Answered(MemberList([_member(one) for one in await self._service.members(name)]))


def _check(asked: Asked, permission: Permission) -> None:
    """Raise NamespaceUnknown for a stranger, Forbidden for a member without the permission."""
    if may(asked.principal, asked.name, permission, _standing(asked, asked.name)):
        return
    if not _is_of(asked):
        raise _unseen(asked.name)
    raise Forbidden(f"an owner of {asked.name} may do this")


def _is_of(asked: Asked) -> bool:
    return asked.name in asked.held or asked.name == asked.principal.user


def _standing(
    asked: Asked, namespace: str, visibility: Visibility = Visibility.PRIVATE
) -> Standing:
    grants = asked.held.get(namespace, NO_MEMBER).grants
    return Standing(visibility, grants, asked.is_administrator)


def _unseen(name: str) -> NamespaceUnknown:
    return NamespaceUnknown(f"no organisation {name} in which you have a role")


def _given(asked: Asked, name: str) -> list[str]:
    return [asked.query[name]] if name in asked.query else []


def _row(one: Namespace) -> OrganisationRow:
    created = None if one.created is None else _time(one.created)
    return OrganisationRow(one.name, one.kind, one.visibility, created)


def _member(one: Member) -> MemberRow:
    return MemberRow(one.user, one.role, one.repository, _time(one.created))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
