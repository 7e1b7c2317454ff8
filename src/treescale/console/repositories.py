"""`/repositories`: what there is, for whoever may see it, in pages by name."""

from datetime import UTC, datetime

import msgspec

from treescale.auth.policy import Standing, permitted
from treescale.auth.roles import NO_MEMBER, Visibility
from treescale.auth.scopes import Action
from treescale.console.route import PREFIX, Answered, Asked
from treescale.errors import NameInvalid, NameUnknown, PageInvalid
from treescale.metadata.database import Database
from treescale.metadata.naming.descriptions import Descriptions
from treescale.metadata.usage.figures import RepositoryFigures, Usage
from treescale.oci.names import check_repository, namespace_of
from treescale.oci.pages import link_header, parse_last, parse_page_size


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


class RepositoryShown(RepositoryRow):
    """One alone."""

    description: str
    """What it says of itself, in markdown."""


class RepositoryPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    repositories: list[RepositoryRow]
    next: str | None


class RepositoryDesk:
    """What answers for repositories."""

    def __init__(self, database: Database) -> None:
        self._usage = Usage(database.connections)
        self._repositories = database.repositories
        self._descriptions = Descriptions(database.connections)

    async def list(self, asked: Asked) -> Answered:
        """List what the caller may see: administrators all, others what they may pull from."""
        limit = parse_page_size(_given(asked, "n"))
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        after = parse_last(_given(asked, "after"), "after")
        if asked.is_administrator:
            found = await self._usage.repositories(after, limit + 1)
        else:
            found = await self._usage.visible(asked.principal.home, after, limit + 1)
        shown = found[:limit]
        last = shown[-1].name if len(found) > limit else None
        if not asked.is_administrator:
            shown = [one for one in shown if _may_pull(asked, one.name, one.visibility)]
        page = RepositoryPage([_row(one) for one in shown], last)
        link = link_header(f"{PREFIX}/repositories", limit, last, cursor="after") if last else ""
        return Answered(page, {"Link": link} if link else {})

    async def show(self, asked: Asked) -> Answered:
        """Show one; what the caller may not see is not there."""
        try:
            name = check_repository(asked.name)
        except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
            raise NameInvalid(str(error)) from None
        found = await self._usage.repository(name) if await self._may_see(asked, name) else None
        if found is None:
            raise NameUnknown(f"no repository {name} that you may see")
        row = msgspec.structs.asdict(_row(found))
        return Answered(
            RepositoryShown(**row, description=await self._descriptions.of_repository(name))
        )

    async def _may_see(self, asked: Asked, name: str) -> bool:
        """Say so before anything is counted there: how long that takes tells what there is."""
        if asked.is_administrator or asked.principal.user == namespace_of(name):
            return True
        try:
            visibility = (await self._repositories.get(name)).visibility
        except NameUnknown:
            return False
        return _may_pull(asked, name, visibility)


def _may_pull(asked: Asked, name: str, visibility: str) -> bool:
    """Say whether the caller, whose access token is for no repository, may pull from it."""
    grants = asked.held.get(namespace_of(name), NO_MEMBER).grants
    standing = Standing(Visibility(visibility), grants)
    return Action.PULL in permitted(asked.principal.person, name, standing)


def _given(asked: Asked, name: str) -> list[str]:
    return [asked.query[name]] if name in asked.query else []


def _row(one: RepositoryFigures) -> RepositoryRow:
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
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
