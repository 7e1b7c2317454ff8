"""What a repository holds, and what was deleted of it: listed, deleted, brought back."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from treescale.auth.policy import may, permitted
from treescale.auth.roles import Permission
from treescale.auth.scopes import Action
from treescale.console.content.report import look, usage_row
from treescale.console.content.rights import (
    check_delete,
    check_pull,
    check_push,
    is_known,
    may_in,
    repository_name,
    standing_in,
    unseen,
)
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked
from treescale.errors import (
    FieldInvalid,
    Forbidden,
    ManifestUnknown,
    NamespaceUnknown,
    NameUnknown,
    RequestInvalid,
    TreeScaleError,
)
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, lease_of
from treescale.maintenance.collection.state import Mode, mode_of
from treescale.maintenance.report.columns import exact_row
from treescale.metadata.collection.deleted import Deleted
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.usage.figures import TagFigures, Usage
from treescale.oci.digest import parse_digest
from treescale.oci.image_reference import ImageReference
from treescale.oci.names import check_tag, namespace_of
from treescale.registry.naming.nearest import check_owned, tags_of, unknown


class TagRow(msgspec.Struct):
    """A tag; times are of UTC."""

    tag: str
    digest: str
    pushed: datetime
    pushed_by: str | None
    """Null for strangers."""
    pulled: datetime | None
    """When what it points at was pulled last, as of a minute ago."""
    pulls: int


class TagPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    tags: list[TagRow]
    next: str | None


class RepositoryReport(msgspec.Struct):
    """What a repository, or one image of it, takes, and where it belongs."""

    summary: dict[str, Any]
    contents: dict[str, Any]
    notes: list[str]
    """What to bear in mind of it."""


class Gone(msgspec.Struct):
    """What was deleted: a repository, a tag or a manifest, with the tags that pointed at it."""

    name: str
    tag: str | None = None
    digest: str | None = None
    tags: list[str] = []


class ManifestRow(msgspec.Struct):
    """A manifest, and the tags that point at it."""

    digest: str
    media_type: str
    size: int
    tags: list[str]


class DeletedRow(msgspec.Struct):
    """Something that can be restored; times are of UTC."""

    name: str
    tag: str | None
    digest: str | None
    deleted: datetime
    restorable_until: datetime
    space_back_by: datetime | None
    """None: never, as collection is off."""


class DeletedPage(msgspec.Struct):
    """Some of it: repositories, then tags, then manifests, the latest of each first.

    `next` is what `after` has to be for what follows.
    """

    deleted: list[DeletedRow]
    next: str | None


class Restoration(msgspec.Struct, forbid_unknown_fields=True, rename={"to": "as"}):
    """What to bring back: a repository, perhaps under another name; or a tag, or a digest of it."""

    name: str
    tag: str | None = None
    digest: str | None = None
    to: str | None = None


class Restored(msgspec.Struct):
    """What is there again, and what of it has to be pushed again."""

    restored: str
    missing: list[str]


class ImageDesk:
    """What answers for images."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._manifests = database.manifests

    async def tags(self, asked: Asked) -> Answered:
        """List the tags, for who may pull."""
        name = repository_name(asked.name)
        await check_pull(asked, self._database, name)
        paging = Paging.of(asked)
        await self._database.repositories.get(name)
        usage = Usage(self._database.connections)
        found = await usage.tags(name, paging.after, paging.limit + 1)
        shown, last, headers = page_of(f"/repositories/{name}/tags", paging, found, _tag_name)
        rows = [_tag(one, is_known=is_known(asked, name)) for one in shown]
        return Answered(TagPage(rows, last), headers)

    async def report(self, asked: Asked) -> Answered:
        """Say what a repository takes, or the image with a tag, and where it belongs."""
        name, tag = repository_name(asked.name), asked.query.get("tag")
        if tag is not None:
            check_tag(tag)
        usage = await self._database.repositories.usage(name)
        why = await self._database.read_only.why(name)
        seen = await look(self._database, name, tag)
        return Answered(
            RepositoryReport(
                exact_row(usage_row(usage, why)), exact_row(seen.as_json()), seen.notes
            )
        )

    async def manifest(self, asked: Asked) -> Answered:
        """Show a manifest's tags, for who may pull."""
        name, digest = repository_name(asked.name), _digest(asked)
        await check_pull(asked, self._database, name)
        try:
            found = await self._manifests.get(name, digest, certain=True)
        except ManifestUnknown:
            raise await self._unknown(asked, ImageReference(name, digest=digest)) from None
        tags = await tags_of(self._database, name, digest)
        return Answered(ManifestRow(digest, found.media_type, len(found.payload), tags))

    async def delete_repository(self, asked: Asked) -> Answered:
        """Delete it with all its tags and manifests; it can be restored for a while."""
        name = repository_name(asked.name)
        await check_delete(asked, self._database, name)
        try:
            await self._database.repositories.delete(
                name, actor=asked.principal.user, force=asked.query.get("force", "0") == "1"
            )
        except NameUnknown:
            raise await self._unknown(asked, ImageReference(name)) from None
        return Answered(Gone(name))

    async def delete_tag(self, asked: Asked) -> Answered:
        """Delete the tag alone."""
        name, tag = repository_name(asked.name), check_tag(asked.parameters["tag"])
        await check_delete(asked, self._database, name)
        try:
            await self._manifests.delete_tag(name, tag, actor=asked.principal.user)
        except ManifestUnknown:
            raise await self._unknown(asked, ImageReference(name, tag=tag)) from None
        return Answered(Gone(name, tag=tag))

    async def delete_manifest(self, asked: Asked) -> Answered:
        """Delete a manifest with every tag that points at it, and all that is said of it."""
        name, digest = repository_name(asked.name), _digest(asked)
        await check_delete(asked, self._database, name)
        try:
            await self._manifests.get(name, digest, certain=True)
        except ManifestUnknown:
            raise await self._unknown(asked, ImageReference(name, digest=digest)) from None
        tags = await tags_of(self._database, name, digest)
        await self._manifests.delete(name, digest, actor=asked.principal.user)
        return Answered(Gone(name, digest=digest, tags=tags))

    async def deleted(self, asked: Asked) -> Answered:
        """List what can be restored: of a namespace for its maintainers, else for administrators.

        Of a repository for its maintainers, who may be those of no more.
        Of who has the name now, and not of who had it before; the operator is shown all.
        """
        namespace = asked.query.get("namespace")
        if "repository" in asked.query:
            return await self._deleted_of(asked, repository_name(asked.query["repository"]))
        if namespace is None and not asked.is_administrator:
            raise Forbidden("say of which namespace, with namespace=; all is for administrators")
        if namespace is not None and not may_in(asked, namespace, Permission.HISTORY):
            if namespace in asked.held:
                raise Forbidden(f"a maintainer of {namespace} may do this")
            raise NamespaceUnknown(f"no organisation {namespace} in which you have a role")
        of = None if asked.principal.is_operator else namespace
        paging = Paging.of(asked)
        undelete = Undelete(self._database.connections)
        found = await undelete.list(of, paging.limit + 1, paging.after)
        if not found and namespace is not None and not paging.after:
            await check_owned(self._database, namespace)  # a name that was mistyped, perhaps
        given = {} if namespace is None else {"namespace": namespace}
        page, last, link = page_of("/deleted", paging, found, lambda one: one.cursor, given)
        after = await self._freed_after()
        shown = [one for one in page if namespace in (None, namespace_of(one.repository))]
        return Answered(DeletedPage([_deleted(one, after) for one in shown], last), link)

    async def _deleted_of(self, asked: Asked, name: str) -> Answered:
        if "namespace" in asked.query:
            raise RequestInvalid("say namespace= or repository=, not both")
        standing = await standing_in(asked, self._database, name)
        rights = permitted(asked.principal.person, name, standing)
        if not may(asked.principal, name, Permission.HISTORY, standing):
            if Action.PULL not in rights:
                raise unseen(asked, name)
            raise Forbidden(f"a maintainer of {name} may do this")
        paging = Paging.of(asked)
        undelete = Undelete(self._database.connections)
        found = await undelete.list(None, paging.limit + 1, paging.after, repository=name)
        page, last, link = page_of(
            "/deleted", paging, found, lambda one: one.cursor, {"repository": name}
        )
        after = await self._freed_after()
        return Answered(DeletedPage([_deleted(one, after) for one in page], last), link)

    async def restore(self, asked: Asked) -> Answered:
        """Bring back what was deleted."""
        wanted: Restoration = asked.body
        name, actor = repository_name(wanted.name), asked.principal.user
        undelete = Undelete(self._database.connections)
        if wanted.tag is not None and wanted.digest is not None:
            raise FieldInvalid("digest: say a tag or a digest, not both", "digest")
        if wanted.to is not None and (wanted.tag is not None or wanted.digest is not None):
            raise FieldInvalid("as: it names a repository: restore NAME --as NAME", "as")
        await check_delete(asked, self._database, name)
        if wanted.tag is not None:
            done = await undelete.tag(name, check_tag(wanted.tag), actor=actor)
            return Answered(Restored(f"{name}:{wanted.tag}", [*done.missing]))
        if wanted.digest is not None:
            digest = str(parse_digest(wanted.digest))
            done = await undelete.manifest(name, digest, actor=actor)
            return Answered(Restored(f"{name}@{digest}", [*done.missing]))
        to = name if wanted.to is None else repository_name(wanted.to)
        await check_push(asked, self._database, to)
        anybodys = asked.principal.is_operator
        await undelete.repository(name, to=to, actor=actor, anybodys=anybodys)
        return Answered(Restored(to, []))

    async def _unknown(self, asked: Asked, wanted: ImageReference) -> TreeScaleError:
        """Return the error for what is not there; the operator is told what is nearest."""
        if asked.principal.is_operator:
            return await unknown(self._database, wanted)
        if wanted.tag is None and wanted.digest is None:
            return unseen(asked, wanted.name)
        return ManifestUnknown(f"no {wanted}")

    async def _freed_after(self) -> float | None:
        """Return how long after that the bytes are free at the latest, if nobody pushes them."""
        settings = self._database.settings
        if mode_of(await settings.get(COLLECTION_SETTING)) is Mode.OFF:
            return None
        times = lease_of(await settings.get(LEASE_SETTING))
        return times.lease + times.look_every + times.trash


def _digest(asked: Asked) -> str:
    return str(parse_digest(asked.parameters["digest"]))


def _tag_name(one: TagFigures) -> str:
    return one.name


def _tag(one: TagFigures, *, is_known: bool) -> TagRow:
    pulled = None if one.pulled is None else _time(one.pulled)
    by = one.pushed_by if is_known else None
    return TagRow(one.name, one.digest, _time(one.pushed), by, pulled, one.pulls)


def _deleted(one: Deleted, after: float | None) -> DeletedRow:
    return DeletedRow(
        name=one.repository,
        tag=one.tag,
        digest=one.digest,
        deleted=_time(one.deleted),
        restorable_until=_time(one.until),
        space_back_by=None if after is None else _time(one.until + after),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
