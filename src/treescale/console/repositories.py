"""`/repositories`: what there is, by name, for whoever may see it; and what was pushed lately."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from treescale.auth.policy import Standing, permitted
from treescale.auth.roles import NO_MEMBER, Visibility
from treescale.auth.scopes import Action
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked, no_repository
from treescale.errors import CredentialsInvalid, NameInvalid, NameUnknown, ParameterInvalid
from treescale.metadata.database import Database
from treescale.metadata.naming.descriptions import Descriptions
from treescale.metadata.shown.repository_pages import ShownRepositories
from treescale.metadata.usage.figures import RepositoryFigures, Usage
from treescale.oci.names import NAME_CHARACTERS_MAX, check_repository, namespace_of

ALL: Final = "all"
USER: Final = "user"
ANONYMOUS: Final = "anonymous"
READ_ON: Final = 500
"""Repositories that are looked at together past those that the caller does not see."""


class RepositoryRow(msgspec.Struct):
    """A repository; times are of UTC, sizes in bytes."""

    name: str
    public: bool
    visibility: str
    """`private`, `internal` (whoever is signed in pulls) or `public`."""
    read_only: str | None
    """What has it be so: `cluster`, `namespace` or `repository`."""
    created: datetime
    bytes: int
    """Of its blobs, each once."""
    blobs: int
    tags: int
    pushed: datetime | None
    """When a tag was pushed last."""
    rights: list[str]
    """What the caller may do there: of `pull`, `push`, `delete`."""


class RepositoryShown(RepositoryRow):
    """One alone."""

    description: str
    """What it says of itself, in markdown."""


class RepositoryPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    repositories: list[RepositoryRow]
    next: str | None


class RepositoryList(msgspec.Struct):
    """Repositories, those that were pushed to last first."""

    repositories: list[RepositoryRow]


class RepositoryDesk:
    """What answers for repositories."""

    def __init__(self, database: Database) -> None:
        self._usage = Usage(database.connections)
        self._shown = ShownRepositories(database.connections)
        self._repositories = database.repositories
        self._descriptions = Descriptions(database.connections)

    async def list(self, asked: Asked) -> Answered:
        """List what the caller may see: administrators all, others what they may pull from."""
        paging, begin = Paging.of(asked), begin_of(asked.query.get("begin", ""))
        found = await seen(
            asked, partial(self._found, asked, begin), paging.after, paging.limit + 1
        )
        filters = {"begin": begin} if begin else None
        shown, last, headers = page_of("/repositories", paging, found, _name, filters)
        return Answered(RepositoryPage(repository_rows(asked, shown), last), headers)

    async def recent(self, asked: Asked) -> Answered:
        """List some of the caller's own, and of organisations with a role of theirs."""
        limit = Paging.of(asked).limit
        found = await self._shown.recent(asked.principal.home, limit)
        return Answered(RepositoryList(repository_rows(asked, found, only_own=True)))

    async def show(self, asked: Asked) -> Answered:
        """Show one; what the caller may not see is not there."""
        try:
            name = check_repository(asked.name)
        except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
            raise NameInvalid(str(error)) from None
        found = await self._usage.repository(name) if await self._may_see(asked, name) else None
        if found is None and asked.principal.anonymous:
            raise CredentialsInvalid("log in first: without that only what is public is there")
        if found is None:
            raise no_repository(asked, name)
        row = msgspec.structs.asdict(_row(asked, found))
        return Answered(
            RepositoryShown(**row, description=await self._descriptions.of_repository(name))
        )

    async def _found(
        self, asked: Asked, begin: str, after: str, limit: int
    ) -> Sequence[RepositoryFigures]:
        if begin:
            home, viewer = asked.principal.home, viewer_of(asked)
            return await self._shown.beginning(viewer, home, begin, after, limit)
        if asked.is_administrator:
            return await self._usage.repositories(after, limit)
        if asked.principal.anonymous:
            raise CredentialsInvalid("log in first, or say which: ?begin=NAMESPACE/")
        return await self._usage.visible(asked.principal.home, after, limit)

    async def _may_see(self, asked: Asked, name: str) -> bool:
        """Say so before anything is counted there: how long that takes tells what there is."""
        if asked.is_administrator or asked.principal.user == namespace_of(name):
            return True
        try:
            visibility = (await self._repositories.get(name)).visibility
        except NameUnknown:
            return False
        return Action.PULL in _rights(asked, name, visibility)


def viewer_of(asked: Asked) -> str:
    """Return which statements list what the caller sees (`metadata.shown`)."""
    if asked.is_administrator:
        return ALL
    return ANONYMOUS if asked.principal.anonymous else USER


def begin_of(text: str) -> str:
    """Return how the names begin that are asked for; raises ParameterInvalid where none can."""
    if len(text) > NAME_CHARACTERS_MAX or not (text.isascii() and text.isprintable()):
        raise ParameterInvalid("begin: no name begins so", "begin")
    return text


def repository_rows(
    asked: Asked, found: Sequence[RepositoryFigures], *, only_own: bool = False
) -> list[RepositoryRow]:
    """Return those that the caller sees: administrators all, unless `only_own`."""
    rows = [_row(asked, one) for one in found]
    sees_all = asked.is_administrator and not only_own
    return [one for one in rows if sees_all or Action.PULL.value in one.rights]


async def seen(
    asked: Asked,
    read: Callable[[str, int], Awaitable[Sequence[RepositoryFigures]]],
    after: str,
    limit: int,
) -> Sequence[RepositoryFigures]:
    """Return so many that the caller sees of what `read` gives after a name.

    A role may be for some repositories of a namespace alone. The names of the others are told by
    nothing, and by no cursor: it is read on until one that is seen, or the end.
    """
    found: list[RepositoryFigures] = []
    count = limit
    while True:
        page = await read(after, count)
        found += [one for one in page if sees(asked, one)]
        if len(page) < count or len(found) >= limit:
            return found[:limit]
        after, count = page[-1].name, max(limit, READ_ON)


def sees(asked: Asked, one: RepositoryFigures) -> bool:
    """Say whether the caller sees a repository: administrators all."""
    return asked.is_administrator or Action.PULL in _rights(asked, one.name, one.visibility)


def _name(one: RepositoryFigures) -> str:
    return one.name


def _rights(asked: Asked, name: str, visibility: str) -> frozenset[Action]:
    """Return what the caller, whose access token is for no repository, may do to it."""
    grants = asked.held.get(namespace_of(name), NO_MEMBER).grants
    standing = Standing(Visibility(visibility), grants)
    return permitted(asked.principal.person, name, standing)


def _row(asked: Asked, one: RepositoryFigures) -> RepositoryRow:
    return RepositoryRow(
        name=one.name,
        public=one.public,
        visibility=one.visibility,
        read_only=one.read_only,
        created=_time(one.created),
        bytes=one.bytes,
        blobs=one.blobs,
        tags=one.tags,
        pushed=None if one.pushed is None else _time(one.pushed),
        rights=sorted(one.value for one in _rights(asked, one.name, one.visibility)),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
