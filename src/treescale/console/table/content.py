"""The rows of what people look for: images by version, one image, search, repositories."""

from collections.abc import Iterable
from typing import Final

from treescale.console.content.image import ImageReport, ImageReportDesk
from treescale.console.content.search import SearchDesk, SearchPage
from treescale.console.content.shown import ImagePage, ShownDesk
from treescale.console.repositories import (
    RepositoryDesk,
    RepositoryList,
    RepositoryPage,
    RepositoryShown,
)
from treescale.console.route import GET, PAGE, ApiRoute, Who
from treescale.metadata.database import Database

IMAGES: Final = {
    "n": "How many at most, 1 to 100.",
    "after": "The `next` of the page before.",
    "order": "`version`, the newest first, as without it; `pushed`, the latest first; or `name`.",
    "filter": "What tags have in their name, whatever its case.",
}
SEARCH: Final = PAGE | {"q": "A piece of a name; the beginning of a tag, or of a digest."}
REPOSITORIES: Final = PAGE | {"begin": "How their names begin, such as `alice/` or `alice/web-`."}


def content_rows(database: Database) -> Iterable[ApiRoute]:
    """Yield them, the longer paths first: the parameter `name` of a path takes slashes."""
    yield from _of_images(ShownDesk(database), ImageReportDesk(database))
    what, search = "Repositories, tags and images that the caller may see", SearchDesk(database)
    yield ApiRoute(GET, "/search", Who.USER, what, search.search, SearchPage, query=SEARCH)
    yield from _of_repositories(RepositoryDesk(database))


def _of_images(lists: ShownDesk, single: ImageReportDesk) -> Iterable[ApiRoute]:
    one = "/repositories/{name}/images"
    what = "Tags of a repository by version, and the images that they point at"
    who, page = Who.READER, ImagePage
    yield ApiRoute(GET, one, who, what, lists.list, page, query=IMAGES, robots=True)
    what = "One image, by a tag or a digest: what it is made of, and what is said of it"
    path = f"{one}/{{reference}}"
    yield ApiRoute(GET, path, who, what, single.show, ImageReport, robots=True)


def _of_repositories(desk: RepositoryDesk) -> Iterable[ApiRoute]:
    what = "Repositories that the caller may see, by name"
    all_of, who, page = "/repositories", Who.READER, RepositoryPage
    yield ApiRoute(GET, all_of, who, what, desk.list, page, query=REPOSITORIES, robots=True)
    one, what = f"{all_of}/{{name}}", "One repository"
    yield ApiRoute(GET, one, who, what, desk.show, RepositoryShown, robots=True)
    what = "Repositories of one's own, and of one's organisations, that were pushed to last"
    query = {"n": PAGE["n"]}
    yield ApiRoute(GET, "/recent", Who.USER, what, desk.recent, RepositoryList, query=query)
