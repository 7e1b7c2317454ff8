"""`/search`: repositories, tags and images that the caller may see, by a piece of their name."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from treescale.auth.policy import permitted
from treescale.auth.scopes import Action
from treescale.console.content.rights import standing_of
from treescale.console.content.shown import time_of
from treescale.console.pages import Paging
from treescale.console.repositories import RepositoryRow, repository_rows, seen, sees, viewer_of
from treescale.console.route import PREFIX, Answered, Asked
from treescale.errors import NameUnknown, PageInvalid, ParameterInvalid
from treescale.metadata.database import Database
from treescale.metadata.shown.finder import Finder, Found
from treescale.metadata.shown.repository_pages import ShownRepositories
from treescale.metadata.usage.figures import RepositoryFigures
from treescale.oci.names import NAME_CHARACTERS_MAX, is_tag
from treescale.oci.pages import link_header

FOUND_MAX: Final = 20
"""Tags, and images, of a search."""
PAGE_MAX: Final = 100
_BEGIN: Final = "begin:"
_INSIDE: Final = "in:"
_DIGEST: Final = re.compile(r"(?:(?P<algorithm>sha256|sha512)[:-])?(?P<hex>[0-9a-f]{6,128})")


class TagFound(msgspec.Struct):
    """A tag; the time is of UTC."""

    repository: str
    tag: str
    digest: str
    pushed: datetime


class ImageFound(msgspec.Struct):
    """A manifest; the time is of UTC."""

    repository: str
    digest: str
    media_type: str
    pushed: datetime


class SearchPage(msgspec.Struct):
    """What was found. Repositories whose names begin so come first, then those that have it inside.

    Tags and images are those of the first page: twenty each at most, by how they begin. A page may
    have fewer repositories than were asked for, and a next one.
    """

    repositories: list[RepositoryRow]
    tags: list[TagFound]
    images: list[ImageFound]
    next: str | None


class SearchDesk:
    """What answers for searches."""

    def __init__(self, database: Database) -> None:
        self._shown = ShownRepositories(database.connections)
        self._finder = Finder(database.connections)
        self._repositories = database.repositories

    async def search(self, asked: Asked) -> Answered:
        """Search; what the caller may not pull from is not found."""
        wanted, paging = _wanted(asked), Paging.of(asked)
        limit = min(paging.limit, PAGE_MAX)
        found, last = await self._named(asked, wanted, paging.after, limit)
        tags: Sequence[Found] = ()
        images: Sequence[Found] = ()
        if not paging.after:
            tags, images = await self._tags(asked, wanted), await self._images(asked, wanted)
        page = SearchPage(
            repository_rows(asked, found),
            [TagFound(one.repository.name, one.tag or "", one.digest, _at(one)) for one in tags],
            [
                ImageFound(one.repository.name, one.digest, one.media_type or "", _at(one))
                for one in images
            ],
            last or None,
        )
        link = link_header(f"{PREFIX}/search", limit, last, {"q": wanted}, cursor="after")
        return Answered(page, {"Link": link} if last else {})

    async def _named(
        self, asked: Asked, wanted: str, after: str, limit: int
    ) -> tuple[Sequence[RepositoryFigures], str]:
        """Return a page, and its next cursor: which kind of names it is in, and the last one."""
        viewer, user = viewer_of(asked), asked.principal.home
        begun: list[RepositoryFigures] = []
        if not after or after.startswith(_BEGIN):
            place = after.removeprefix(_BEGIN)
            read = partial(self._shown.beginning, viewer, user, wanted)
            begun = [*await seen(asked, read, place, limit + 1)]
            if len(begun) > limit:
                return begun[:limit], _BEGIN + begun[limit - 1].name
            after = _INSIDE
        if not after.startswith(_INSIDE):
            raise PageInvalid("after must be the next of an earlier page")
        place, room = after.removeprefix(_INSIDE), limit - len(begun)
        if not room:
            return begun, _INSIDE
        inside, going_on = await self._having(asked, wanted, place, room)
        return [*begun, *inside], _INSIDE + going_on if going_on else ""

    async def _having(
        self, asked: Asked, wanted: str, after: str, room: int
    ) -> tuple[list[RepositoryFigures], str]:
        """Return some that the caller sees, and where to go on: a name that the caller sees, too.

        Fewer than there is room for, as so many names were looked at, and a next page.
        """
        viewer, user = viewer_of(asked), asked.principal.home
        found: list[RepositoryFigures] = []
        while True:
            some, after = await self._shown.having(viewer, user, wanted, after, room)
            found += [one for one in some if sees(asked, one)]
            if len(found) > room or (len(found) == room and after):
                return found[:room], found[room - 1].name
            if not after or await self._is_seen(asked, after):
                return found, after

    async def _is_seen(self, asked: Asked, name: str) -> bool:
        if asked.is_administrator:
            return True
        try:
            repository = await self._repositories.get(name)
        except NameUnknown:
            return False
        standing = standing_of(asked, repository)
        return Action.PULL in permitted(asked.principal.person, name, standing)

    async def _tags(self, asked: Asked, wanted: str) -> Sequence[Found]:
        tag = wanted.rpartition(":")[2]
        if not is_tag(tag):
            return []
        name = wanted.rpartition(":")[0]
        user, viewer = asked.principal.home, viewer_of(asked)
        found = _pulled(asked, await self._finder.tags(viewer, user, tag, FOUND_MAX))
        return [one for one in found if one.repository.name.endswith(name)]

    async def _images(self, asked: Asked, wanted: str) -> Sequence[Found]:
        digest = _DIGEST.fullmatch(wanted.rpartition("@")[2])
        if digest is None:
            return []
        algorithms = [digest["algorithm"]] if digest["algorithm"] else ["sha256", "sha512"]
        user, viewer = asked.principal.home, viewer_of(asked)
        found: list[Found] = []
        for algorithm in algorithms:
            begin = f"{algorithm}:{digest['hex']}"
            found += await self._finder.images(viewer, user, begin, FOUND_MAX)
        return _pulled(asked, found)[:FOUND_MAX]


def _wanted(asked: Asked) -> str:
    wanted = asked.query.get("q", "").strip()
    if not wanted:
        raise ParameterInvalid("q: say what to search for", "q")
    if len(wanted) > NAME_CHARACTERS_MAX or not (wanted.isascii() and wanted.isprintable()):
        raise ParameterInvalid(
            "q: names, tags and digests are letters, digits and . _ - / : @, "
            f"at most {NAME_CHARACTERS_MAX}",
            "q",
        )
    return wanted


def _pulled(asked: Asked, found: Sequence[Found]) -> Sequence[Found]:
    """Return what the caller may pull."""
    person = asked.principal.person
    return [
        one
        for one in found
        if Action.PULL in permitted(person, one.repository.name, standing_of(asked, one.repository))
    ]


def _at(one: Found) -> datetime:
    return time_of(one.pushed)
