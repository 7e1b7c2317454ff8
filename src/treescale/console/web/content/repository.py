"""A repository: its tags first; and one image of it, whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from treescale.console.route import segment
from treescale.console.web.commands import Host, pull_commands
from treescale.console.web.content.links import UNDO_MAX, image_path, with_query
from treescale.console.web.page import Page, Visit
from treescale.console.web.texts import TEXTS
from treescale.errors import (
    FieldInvalid,
    ManifestUnknown,
    NameInvalid,
    NamespaceUnknown,
    NameUnknown,
    PageInvalid,
)
from treescale.oci.names import check_repository, is_tag

ROWS_SHOWN: Final = "50"
ORDERS: Final = ("version", "pushed", "name")
PRETTY_GROWTH_MAX: Final = 4
PRETTY_CHARACTERS_MIN: Final = 4096
DELETE: Final = "delete"
PUSH: Final = "push"


@dataclass(frozen=True, slots=True)
class RepositoryPages:
    """What answers for repositories and images, also for who is not signed in."""

    async def show(self, visit: Visit) -> Page:
        """Show its tags."""
        name = name_of(visit)
        path = f"/repositories/{segment(name)}"
        repository = await visit.api("GET", path)
        asked = {key: visit.query.get(key, "") for key in ("order", "filter", "after")}
        order = asked["order"] if asked["order"] in ORDERS else ORDERS[0]
        query = {"n": ROWS_SHOWN} | {key: value for key, value in asked.items() if value}
        problem, page = "", None
        try:
            page = await visit.api("GET", f"{path}/images", query=query | {"order": order})
        except (FieldInvalid, PageInvalid) as error:
            problem = str(error)
        except NameUnknown:
            # Administrators see that it is there, and manage it; what is in it is for members.
            if not manages(visit):
                raise
        further = "" if page is None or page.next is None else page.next
        to = with_query(f"/{name}", asked | {"after": further})
        host = Host.of(visit.place.origin)
        values = {
            "name": name,
            "repository": repository,
            "host": host.name,
            "images": () if page is None else page.images,
            "order": order,
            "filter": asked["filter"][:200],
            "is_filtered": bool(asked["filter"] or asked["after"]),
            "orders": [
                (each, with_query(f"/{name}", {"order": each, "filter": asked["filter"]}))
                for each in ORDERS
            ],
            "further": further and to,
            "undo": _undo(visit),
            "deletes": DELETE in repository.rights,
            "maintains": DELETE in repository.rights or manages(visit),
            "is_closed": page is None and not problem,
            "problem": problem,
        }
        return Page("content/repository.html", values, 400 if problem else 200)

    async def show_tag(self, visit: Visit) -> Page:
        """Show what a tag points at."""
        return await self._image(visit, visit.parameters["tag"])

    async def show_digest(self, visit: Visit) -> Page:
        """Show an image by its digest."""
        return await self._image(visit, visit.parameters["digest"])

    async def _image(self, visit: Visit, reference: str) -> Page:
        name = name_of(visit)
        path = f"/repositories/{segment(name)}/images/{segment(reference)}"
        try:
            image = await visit.api("GET", path)
        except ManifestUnknown:
            raise NameUnknown(TEXTS["content_no_image"].format(name=name)) from None
        values = {
            "name": name,
            "reference": reference,
            "image": image,
            "commands": pull_commands(
                Host.of(visit.place.origin), name, image.tag or image.digest, image.kind
            ),
            "pretty": _pretty(image.manifest),
            "rule": await self._rule(visit, name, image.tag),
            "may_delete": DELETE in image.rights,
            "may_push": PUSH in image.rights,
            "here": image_path(name, reference),
        }
        return Page("content/image.html", values)

    async def _rule(self, visit: Visit, name: str, tag: str | None) -> Any:
        """Return what rules say of a tag; None where the visitor is not told."""
        if tag is None or visit.signed_in is None:
            return None
        try:
            return await visit.api("GET", f"/explain/{segment(name)}", query={"tag": tag})
        except (NameUnknown, ManifestUnknown, NamespaceUnknown):
            return None


def manages(visit: Visit) -> bool:
    """Say whether an administrator has the page open."""
    return visit.signed_in is not None and visit.signed_in.session.is_administrator


def name_of(visit: Visit) -> str:
    """Return the repository that a page is of; raises NameUnknown for what is no name of one."""
    try:
        return check_repository(visit.parameters["name"])
    except NameInvalid:
        raise NameUnknown(TEXTS["not_found"]) from None


def _pretty(manifest: str | None) -> str:
    """Return a manifest with a line for each thing in it; as it is where that cannot be.

    Nor where it became much larger: what lies deep is indented as often as there is something.
    """
    if manifest is None:
        return ""
    most = PRETTY_CHARACTERS_MIN + PRETTY_GROWTH_MAX * len(manifest)
    pieces: list[str] = []
    try:
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(
            json.loads(manifest)
        ):
            pieces.append(piece)
            most -= len(piece)
            if most < 0:
                return manifest
    except (ValueError, RecursionError):
        return manifest
    return "".join(pieces)


def _undo(visit: Visit) -> Sequence[str]:
    """Return the tags that were deleted just now."""
    tags = [tag for tag in visit.query.get("undo", "").split(",") if is_tag(tag)]
    return tags[:UNDO_MAX]
