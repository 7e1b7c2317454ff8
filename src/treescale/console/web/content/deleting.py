"""Deleting tags, images, a repository: what goes is said first, and can be brought back after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.console.problems import status_of
from treescale.console.route import segment
from treescale.console.web.content.links import (
    DELETED_SHOWN,
    UNDO_MAX,
    further_page,
    image_path,
    with_query,
)
from treescale.console.web.content.repository import DELETE, name_of
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.texts import TEXTS
from treescale.errors import Forbidden, Refused, RequestInvalid
from treescale.oci.names import is_tag, namespace_of

TAG_FIELD: Final = "tag."
"""How the fields of a form begin that each name a tag."""
SURE: Final = "sure"


@dataclass(frozen=True, slots=True)
class DeletingPages:
    """What answers for deleting, and bringing back."""

    async def delete_tags(self, visit: Visit) -> Page | Moved:
        """Delete the tags that were chosen, once it was said what that does."""
        name, tags = name_of(visit), _chosen(visit.form)
        repository = f"/repositories/{segment(name)}"
        if not tags:
            return Moved(f"/{name}?done=content_none_chosen")
        if visit.form.get(SURE) != "1":
            await self._check_may_delete(visit, name)
            return Page("content/delete_tags.html", {"name": name, "tags": tags})
        gone: list[str] = []
        for tag in tags:
            try:
                await visit.api("DELETE", f"{repository}/tags/{segment(tag)}")
            except Refused as error:
                values = {"name": name, "tags": tags[len(gone) :], "gone": gone}
                problem = {"problem": str(error)}
                return Page("content/delete_tags.html", values | problem, status_of(error))
            gone.append(tag)
        if len(gone) > UNDO_MAX:
            return Moved(f"/{name}/-/deleted?done=content_tags_deleted")
        done = {"done": "content_tags_deleted", "undo": ",".join(gone)}
        return Moved(with_query(f"/{name}", done))

    async def delete_image(self, visit: Visit) -> Page | Moved:
        """Delete an image with its tags, once it was said which."""
        name, digest = name_of(visit), visit.form.get("digest", "")
        path = f"/repositories/{segment(name)}/manifests/{segment(digest)}"
        image = await visit.api("GET", path)
        values = {"name": name, "image": image}
        if visit.form.get(SURE) != "1":
            await self._check_may_delete(visit, name)
            return Page("content/delete_image.html", values)
        try:
            await visit.api("DELETE", path)
        except Refused as error:
            problem = {"problem": str(error)}
            return Page("content/delete_image.html", values | problem, status_of(error))
        return Moved(f"/{name}/-/deleted?done=content_image_deleted")

    async def show_delete(self, visit: Visit) -> Page:
        """Say what goes with a repository."""
        return await self._deletion(visit, name_of(visit))

    async def delete_repository(self, visit: Visit) -> Page | Moved:
        """Delete it, for who has typed its name."""
        name = name_of(visit)
        if visit.form.get("name", "").strip() != name:
            return await self._deletion(visit, name, problem=TEXTS["content_type_name"])
        force = {"force": "1"} if visit.form.get("force") == "1" else {}
        try:
            await visit.api("DELETE", f"/repositories/{segment(name)}", query=force)
        except Refused as error:
            return await self._deletion(visit, name, problem=str(error), status=status_of(error))
        done = {"done": "content_repository_deleted", "undo": name}
        return Moved(with_query(f"/{namespace_of(name)}", done))

    async def deleted(self, visit: Visit) -> Page:
        """Show what of a repository can be restored."""
        return await self._deleted(visit, name_of(visit))

    async def restore(self, visit: Visit) -> Page | Moved:
        """Bring tags back, or an image."""
        name, tags = name_of(visit), _chosen(visit.form)
        digest = visit.form.get("digest", "")
        wanted = [{"tag": tag} for tag in tags] or [{"digest": digest}]
        try:
            for one in wanted:
                await visit.api("POST", "/restorations", body={"name": name} | one)
        except Refused as error:
            return await self._deleted(visit, name, problem=str(error), status=status_of(error))
        return Moved(f"/{name}?done=content_restored")

    async def move_tag(self, visit: Visit) -> Moved:
        """Have a tag point again at an image that is there."""
        name, tag = name_of(visit), visit.form.get("tag", "")
        if not is_tag(tag):
            raise RequestInvalid(TEXTS["content_no_tag"])
        source = f"{name}@{visit.form.get('digest', '')}"
        await visit.api("POST", "/copies", body={"source": source, "target": f"{name}:{tag}"})
        return Moved(f"{image_path(name, tag)}?done=content_tag_moved")

    async def _deletion(
        self, visit: Visit, name: str, *, problem: str = "", status: int = 400
    ) -> Page:
        repository = await visit.api("GET", f"/repositories/{segment(name)}")
        if DELETE not in repository.rights:
            raise Forbidden(TEXTS["content_for_maintainers"].format(name=name))
        values = {"name": name, "repository": repository, "problem": problem}
        return Page("content/delete_repository.html", values, status if problem else 200)

    async def _deleted(
        self, visit: Visit, name: str, *, problem: str = "", status: int = 400
    ) -> Page:
        await self._check_may_delete(visit, name)
        asked = {"repository": name, "n": DELETED_SHOWN, "after": visit.query.get("after", "")}
        listed = await visit.api("GET", "/deleted", query=asked)
        values = {
            "name": name,
            "deleted": sorted(listed.deleted, key=lambda one: one.deleted, reverse=True),
            "further": further_page(f"/{name}/-/deleted", listed.next),
            "problem": problem,
        }
        return Page("content/repository_deleted.html", values, status if problem else 200)

    async def _check_may_delete(self, visit: Visit, name: str) -> None:
        """Raise Forbidden for who does not delete there: before it is asked whether they are sure.

        The API looks again.
        """
        repository = await visit.api("GET", f"/repositories/{segment(name)}")
        if DELETE not in repository.rights:
            raise Forbidden(TEXTS["content_for_maintainers"].format(name=name))


def _chosen(form: Mapping[str, str]) -> Sequence[str]:
    """Return the tags that a form names."""
    found = [field.removeprefix(TAG_FIELD) for field in form if field.startswith(TAG_FIELD)]
    return [tag for tag in found if is_tag(tag)]
