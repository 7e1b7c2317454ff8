"""A namespace: its repositories, as far as the visitor may see them; what was deleted there."""

from dataclasses import dataclass
from typing import Any, Final

from treescale.console.route import segment
from treescale.console.web.commands import Host, push_commands
from treescale.console.web.content.links import with_query
from treescale.console.web.content.standing import standing_in
from treescale.console.web.page import Moved, Page, Visit
from treescale.console.web.texts import TEXTS
from treescale.errors import (
    CredentialsInvalid,
    Forbidden,
    NameInvalid,
    NamespaceUnknown,
    NameUnknown,
    Refused,
)
from treescale.oci.names import NAME_CHARACTERS_MAX, check_namespace, check_repository

REPOSITORIES_SHOWN: Final = "50"


@dataclass(frozen=True, slots=True)
class NamespacePages:
    """What answers for namespaces."""

    async def show(self, visit: Visit) -> Page:
        """Show its repositories.

        One that is not there, and one of which the visitor may see nothing, are the same page.
        """
        namespace = _namespace(visit)
        standing = await standing_in(visit, namespace)
        wanted, after = visit.query.get("filter", "").strip(), visit.query.get("after", "")
        begin = f"{namespace}/{wanted}"[:NAME_CHARACTERS_MAX]
        query = {"begin": begin, "n": REPOSITORIES_SHOWN} | ({"after": after} if after else {})
        page = await visit.api("GET", "/repositories", query=query)
        is_empty = not page.repositories and page.next is None and not wanted and not after
        described = await self._described(visit, namespace) if standing.is_member else None
        if is_empty and described is None:
            if visit.signed_in is None:
                raise CredentialsInvalid(TEXTS["ended"])
            raise NameUnknown(TEXTS["content_no_namespace"])
        further = page.next or ""
        values = {
            "namespace": namespace,
            "standing": standing,
            "described": described,
            "quota": await self._quota(visit, namespace) if standing.owns else None,
            "repositories": page.repositories,
            "filter": wanted,
            "further": further
            and with_query(f"/{namespace}", {"filter": wanted, "after": further}),
            "commands": push_commands(Host.of(visit.place.origin), visit.me.user, namespace)
            if is_empty and standing.pushes
            else (),
            "is_empty": is_empty,
            "undo": _undo(visit, namespace),
        }
        return Page("content/namespace.html", values)

    async def deleted(self, visit: Visit) -> Page:
        """Show what can be restored there, for maintainers."""
        namespace = _namespace(visit)
        return await self._deleted(visit, namespace)

    async def restore(self, visit: Visit) -> Page | Moved:
        """Bring a repository, a tag or an image back."""
        namespace = _namespace(visit)
        form = visit.form
        given = {name: form[name] for name in ("name", "tag", "digest") if form.get(name)}
        if given.get("name", "").partition("/")[0] != namespace:
            raise NameInvalid(f"say which repository of {namespace}")
        try:
            await visit.api("POST", "/restorations", body=given)
        except Refused as error:
            return await self._deleted(visit, namespace, problem=str(error))
        return Moved(f"/{given['name']}?done=content_restored")

    async def _deleted(self, visit: Visit, namespace: str, *, problem: str = "") -> Page:
        after = visit.query.get("after", "")
        query = {"namespace": namespace} | ({"after": after} if after else {})
        listed = await visit.api("GET", "/deleted", query=query)
        further = listed.next or ""
        values = {
            "further": further and with_query(f"/{namespace}/-/deleted", {"after": further}),
            "namespace": namespace,
            "standing": await standing_in(visit, namespace),
            "deleted": sorted(listed.deleted, key=lambda one: one.deleted, reverse=True),
            "problem": problem,
        }
        return Page("content/namespace_deleted.html", values, 409 if problem else 200)

    async def _described(self, visit: Visit, namespace: str) -> Any:
        try:
            return await visit.api("GET", f"/organisations/{segment(namespace)}")
        except (NamespaceUnknown, Forbidden):
            return None

    async def _quota(self, visit: Visit, namespace: str) -> Any:
        try:
            return await visit.api("GET", f"/quotas/{segment(namespace)}")
        except (NamespaceUnknown, Forbidden):
            return None


def _namespace(visit: Visit) -> str:
    try:
        return check_namespace(visit.parameters["namespace"])
    except NameInvalid:
        raise NameUnknown(TEXTS["not_found"]) from None


def _undo(visit: Visit, namespace: str) -> str:
    """Return the repository that was deleted just now, of this namespace."""
    name = visit.query.get("undo", "")
    try:
        check_repository(name)
    except NameInvalid:
        return ""
    return name if name.startswith(f"{namespace}/") else ""
