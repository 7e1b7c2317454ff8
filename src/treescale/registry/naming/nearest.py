"""What is not there, and what is nearest to it."""

import difflib
from collections.abc import AsyncIterator
from typing import Final

from treescale.errors import ManifestUnknown, NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.shown.tag_pages import ShownTags
from treescale.oci.image_reference import ImageReference
from treescale.oci.names import namespace_of

PAGE_SIZE: Final = 500
LOOKED_AT_MAX: Final = 10_000
"""So many names are compared with one that is not there."""


async def tags_of(database: Database, name: str, digest: str) -> list[str]:
    """Return the tags that point at this manifest, of very many some."""
    found = await ShownTags(database.connections).aliases(name, [digest], LOOKED_AT_MAX)
    return found.get(digest, [])


async def unknown(database: Database, wanted: ImageReference) -> ManifestUnknown | NameUnknown:
    """Return the error for what is not there: it names what is nearest, and how to see the rest."""
    try:
        tags = [tag async for tag in _tags(database, wanted.name)]
    except NameUnknown:
        namespace = namespace_of(wanted.name)
        page = await database.repositories.list_all(f"{namespace}/", PAGE_SIZE)
        names = [one.name for one in page if namespace_of(one.name) == namespace]
        return NameUnknown(
            f"no repository {wanted.name}: {_nearest(wanted.name, names)}`treescale repo list` "
            "lists all"
        )
    if wanted.tag is None:
        return ManifestUnknown(
            f"no manifest {wanted.digest} in {wanted.name}: "
            f"`treescale repo show {wanted.name}` shows the digests of its tags"
        )
    return ManifestUnknown(
        f"no tag {wanted.tag} in {wanted.name}: {_nearest(wanted.tag, tags)}"
        f"`treescale repo show {wanted.name}` shows its tags"
    )


async def _tags(database: Database, name: str) -> AsyncIterator[str]:
    after, seen = "", 0
    while seen < LOOKED_AT_MAX and (
        page := await database.manifests.list_tags(name, after, PAGE_SIZE)
    ):
        for tag in page:
            yield tag
        after, seen = page[-1], seen + len(page)


def _nearest(wanted: str, there: list[str]) -> str:
    close = difflib.get_close_matches(wanted, there, n=1)
    return f"did you mean {close[0]}? " if close else ""
