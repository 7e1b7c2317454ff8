"""A repository's tags as people look for them: by version, and with what they point at."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from treescale.console.content.described import Descriptions, Facts
from treescale.console.content.rights import check_pull, is_known, repository_name
from treescale.console.pages import Paging
from treescale.console.route import PREFIX, Answered, Asked
from treescale.errors import ParameterInvalid
from treescale.metadata.database import Database
from treescale.metadata.shown.tag_pages import ShownTags, TagOrder
from treescale.metadata.usage.figures import TagFigures
from treescale.oci.pages import link_header

ROWS_MAX: Final = 100
ALIASES_SHOWN: Final = 10
FILTER_CHARACTERS_MAX: Final = 128


class ImageRow(msgspec.Struct):
    """A tag, and the image that it points at; times are of UTC, sizes in bytes."""

    tag: str
    digest: str
    tags: list[str]
    """Others that point at it; not all, when there are many."""
    kind: str
    """`index`, `image`, `chart` or `artifact`."""
    media_type: str
    artifact_type: str | None
    platforms: list[str]
    """As `linux/arm64`; attestations are none."""
    size: int | None
    """That a client pulls: of an index that of its largest platform. Null of a manifest so large
    that lists do not read it."""
    size_all: int | None
    """Of all platforms, each blob once."""
    has: list[str]
    """Of `signature`, `sbom`, `provenance` those that there are."""
    pushed: datetime
    pushed_by: str | None
    """Null for strangers."""
    pulled: datetime | None
    pulls: int


class ImagePage(msgspec.Struct):
    """Some of them; `next` is what `after` has to be for those that follow.

    With a filter a page may have fewer than were asked for, and a next one.
    """

    images: list[ImageRow]
    next: str | None


class ShownDesk:
    """What answers for the tags of a repository as people look for them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tags = ShownTags(database.connections)
        self._descriptions = Descriptions(database)

    async def list(self, asked: Asked) -> Answered:
        """List them, for who may pull."""
        name = repository_name(asked.name)
        await check_pull(asked, self._database, name)
        order, wanted = _order(asked), asked.query.get("filter", "")
        if len(wanted) > FILTER_CHARACTERS_MAX:
            raise ParameterInvalid(f"filter: at most {FILTER_CHARACTERS_MAX} characters", "filter")
        paging = Paging.of(asked)
        limit = min(paging.limit, ROWS_MAX)
        page = await self._tags.page(name, order, paging.after, limit, wanted)
        digests = [one.digest for one in page.tags]
        facts = await self._descriptions.of(name, digests)
        aliases = await self._tags.aliases(name, digests)
        knows = is_known(asked, name)
        rows = [
            _row(one, facts[one.digest], aliases.get(one.digest, []), is_known=knows)
            for one in page.tags
            if one.digest in facts  # it was deleted between two looks
        ]
        headers = {}
        if page.next:
            filters = {"order": order.value} | ({"filter": wanted} if wanted else {})
            path = f"{PREFIX}/repositories/{name}/images"
            link = link_header(path, limit, page.next, filters, cursor="after")
            headers = {"Link": link}
        return Answered(ImagePage(rows, page.next or None), headers)


def _order(asked: Asked) -> TagOrder:
    try:
        return TagOrder(asked.query.get("order", TagOrder.VERSION))
    except ValueError:
        raise ParameterInvalid("order: it is version, pushed or name", "order") from None


def _row(one: TagFigures, facts: Facts, aliases: list[str], *, is_known: bool) -> ImageRow:
    return ImageRow(
        tag=one.name,
        digest=one.digest,
        tags=[tag for tag in aliases if tag != one.name][:ALIASES_SHOWN],
        kind=facts.kind,
        media_type=facts.document.media_type,
        artifact_type=facts.document.artifact_type,
        platforms=[*facts.platforms],
        size=facts.size,
        size_all=facts.size_all,
        has=[*facts.has],
        pushed=time_of(one.pushed),
        pushed_by=one.pushed_by if is_known else None,
        pulled=None if one.pulled is None else time_of(one.pulled),
        pulls=one.pulls,
    )


def time_of(seconds: float) -> datetime:
    """Return a time of the database as JSON has it."""
    return datetime.fromtimestamp(int(seconds), UTC)
