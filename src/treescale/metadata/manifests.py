"""Manifests, by digest and by tag.

What was read, and what `put` wrote, is kept by digest and by tag: while the database is away a pull
goes on with it. `cache.answers` decides what may be answered; what takes something away forgets it
here.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.engine import Connection

from treescale.cache.answers import AnswerCache
from treescale.errors import (
    DatabaseUnavailable,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    QuotaExceeded,
    ReadOnly,
    Refused,
    TagImmutable,
)
from treescale.lease_times import LINK_LEASES
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import Event, Kind, record, record_all
from treescale.metadata.layouts import check_writable, lease_seconds, undelete_seconds
from treescale.metadata.limits.settling import Gain, explained, settle
from treescale.metadata.manifest_push import (
    NOW,
    Deletion,
    Pushed,
    check_whole,
    delete_piece,
    hold_references,
    manifest_row,
    refer,
    take_tag,
    write_manifest,
    write_tags,
)
from treescale.metadata.records import Manifest, ReferrerDescriptor, WrongSize
from treescale.metadata.repositories import hold, id_of
from treescale.metadata.rules.immutable import check_image_may_go, check_tag_may_go
from treescale.metadata.rules.unheld import unheld_back
from treescale.metadata.schema import (
    manifests,
    repositories,
    tags,
)
from treescale.oci.conditions import Condition
from treescale.oci.image_payload import image_payload
from treescale.oci.manifests import Reference

_COLUMNS: Final = (
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.subject,
    manifests.c.artifact_type,
    manifests.c.annotations,
    manifests.c.payload,
    case(
        (
            manifests.c.untagged_since.is_not(None),
            # Version 0.1.0 has promised nothing.
            func.coalesce(manifests.c.lease_until, literal_column("0")) - lease_seconds(),
        )
    ).label("promised_until"),
)
_THIS: Final = (
    manifests.c.repository_id == id_of(),
    manifests.c.digest == bindparam("digest"),
    manifests.c.deleted.is_(None),
)

# Of what something holds nothing is to be renewed (`metadata.collection.untagged`).
RENEW: Final = (
    update(manifests)
    .where(
        manifests.c.repository_id == id_of(),
        manifests.c.digest == bindparam("this"),
        manifests.c.deleted.is_(None),
        manifests.c.untagged_since.is_not(None),
    )
    .values(lease_until=DatabaseNow() + LINK_LEASES * lease_seconds(), untagged_since=DatabaseNow())
)
_TIMES: Final = select(
    (DatabaseNow() - undelete_seconds()).label("since"),
    (DatabaseNow() + LINK_LEASES * lease_seconds()).label("until"),
)
GET: Final = ahead(select(*_COLUMNS).where(*_THIS), "digest repository")
RESOLVE: Final = ahead(
    select(*_COLUMNS)
    .select_from(tags.join(manifests))
    .where(
        tags.c.repository_id == id_of(),
        tags.c.name == bindparam("tag"),
        manifests.c.deleted.is_(None),
    ),
    "repository tag",
)
_PAGE_OF_TAGS: Final = (
    select(tags.c.name)
    .where(tags.c.repository_id == id_of(), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
    .subquery("page")
)
_REPOSITORY: Final = select(null()).where(repositories.c.name == bindparam("repository"))
# One statement, so one moment: with two, a first push in between would show as no tags at all.
LIST_TAGS: Final = ahead(
    union_all(select(_PAGE_OF_TAGS.c.name), _REPOSITORY), "after limit repository"
)
_THIS_TAG: Final = (tags.c.repository_id == id_of(), tags.c.name == bindparam("tag"))
POINTS_AT: Final = select(tags.c.repository_id, tags.c.digest).where(*_THIS_TAG)
HOLD_TAG: Final = POINTS_AT.with_for_update()
_HOLD_POINTED_AT: Final = (
    select(manifests.c.digest)
    .where(
        manifests.c.repository_id == bindparam("row_id"), manifests.c.digest == bindparam("digest")
    )
    .with_for_update(read=True, key_share=True)
)
_ATTEMPTS_MAX: Final = 5
HOLD: Final = select(manifests.c.repository_id).where(*_THIS).with_for_update()


def _referring() -> Select[tuple[str, int]]:
    """Return the query for one page of a subject's referrers, without their annotations."""
    return (
        select(manifests.c.digest, manifests.c.annotations_bytes)
        .where(
            manifests.c.repository_id == id_of(),
            manifests.c.subject == bindparam("subject"),
            manifests.c.digest > bindparam("after"),
            manifests.c.deleted.is_(None),
        )
        .order_by(manifests.c.digest)
        .limit(bindparam("limit"))
    )


_OF_TYPE: Final[ColumnElement[bool]] = manifests.c.artifact_type == bindparam("artifact_type")
REFERRERS: Final = _referring()
REFERRERS_OF_TYPE: Final = _referring().where(_OF_TYPE)
_DESCRIBED: Final = (
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.size,
    manifests.c.artifact_type,
    manifests.c.annotations,
)
_UP_TO: Final = manifests.c.digest <= bindparam("last")
DESCRIBE: Final = _referring().with_only_columns(*_DESCRIBED).where(_UP_TO)
DESCRIBE_OF_TYPE: Final = DESCRIBE.where(_OF_TYPE)


class Manifests:
    """Manifests by digest and by tag."""

    def __init__(
        self,
        connections: Connections,
        by_digest: AnswerCache[Manifest],
        by_tag: AnswerCache[Manifest],
    ) -> None:
        self._connections = connections
        self._by_digest = by_digest
        self._by_tag = by_tag

    async def put(
        self,
        repository: str,
        manifest: Manifest,
        references: Sequence[Reference],
        tags: Sequence[str],
        *,
        now: float,
        actor: str,
        condition: Condition | None = None,
    ) -> tuple[WrongSize, ...]:
        """Store the manifest and point `tags` at it, atomically; idempotent.

        Returns which references to what is here are of another size than they say: worth a word,
        and no more. Clients that compare sizes fail to pull it, others pull it.

        Raises TagImmutable, and keeps nothing, when a rule has one of the tags stay where it is.

        Raises PreconditionFailed, and keeps nothing, when the condition does not hold of each of
        the tags, or without tags of the manifest, at the moment of the write: of several callers
        at once with one condition that only one can meet, one succeeds.

        Raises ManifestBlobUnknown, naming one of them, when a required reference is missing from
        this repository: blobs must be linked and not lost, manifests present (a required manifest
        reference is also met by a linked blob, and a required blob reference by a present manifest,
        as BuildKit's cache indexes need).
        """
        pushed = Pushed(repository, manifest, actor, image_payload(manifest, references))
        return await self._put(pushed, references, tags, now=now, condition=condition)

    async def move_tag(
        self,
        repository: str,
        manifest: Manifest,
        references: Sequence[Reference],
        tag: str,
        *,
        now: float,
        actor: str,
    ) -> None:
        """Point a tag at a manifest of the repository; raises as `put` does.

        Nothing is pushed by that: the event is `tag.moved`.
        """
        payload = image_payload(manifest, references)
        moved = Pushed(repository, manifest, actor, payload, Kind.TAG_MOVED)
        await self._put(moved, references, (tag,), now=now)

    async def _put(
        self,
        pushed: Pushed,
        references: Sequence[Reference],
        tags: Sequence[str],
        *,
        now: float,
        condition: Condition | None = None,
    ) -> tuple[WrongSize, ...]:
        repository, manifest, actor = pushed.repository, pushed.manifest, pushed.actor
        of_tags, of_it = (condition, None) if tags else (None, condition)

        def work(connection: Connection) -> tuple[WrongSize, ...]:
            held = hold(connection, repository, actor=actor, now=now)
            row_id = held.row_id
            back = partial(_bring_back, connection, row_id, pushed)
            wrong = hold_references(connection, row_id, references, back)
            if held.any_lost:
                check_whole(connection, row_id, references)
            row = manifest_row(row_id, manifest, actor=actor)
            write_manifest(connection, row, pushed.events(tags), of_it)
            refer(connection, row_id, manifest.digest, references)
            is_new = write_tags(connection, pushed, row_id, tags, now=now, condition=of_tags)
            if held.is_limited:
                sizes = {manifest.digest: len(manifest.payload)}
                gain = Gain(row_id, sizes, is_new=held.is_new, has_new_tags=is_new)
                settle(connection, gain, actor=actor)
            return wrong

        digest_mark, tag_mark = self._by_digest.begin(), self._by_tag.begin()
        try:
            wrong = await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None
        size = _bytes_kept(manifest)
        self._by_digest.put(repository, manifest.digest, manifest, size, digest_mark)
        self._by_tag.wrote(repository, tags, manifest, size, tag_mark)
        return wrong

    async def get(self, repository: str, digest: str, *, certain: bool = False) -> Manifest:
        """Return the manifest; raises ManifestUnknown.

        With `certain` DatabaseUnavailable rather than what was so lately.
        """
        read = self._by_digest.read
        return await read(repository, digest, self._get, _bytes_kept, certain=certain)

    async def resolve(self, repository: str, tag: str, *, certain: bool = False) -> Manifest:
        """Return the manifest a tag points at; raises as `get` does."""
        read = self._by_tag.read
        return await read(repository, tag, self._resolve, _bytes_kept, certain=certain)

    def current(self, repository: str, reference: str) -> Manifest | None:
        """Return what `get` or `resolve` would from memory, at once; None where they would ask."""
        known = self._by_digest if ":" in reference else self._by_tag
        return known.current(repository, reference)

    async def renew(self, repository: str, digest: str) -> None:
        """Have what nothing holds stay for another lease, as somebody was told of it.

        Raises ManifestUnknown when it has gone meanwhile, and DatabaseUnavailable.
        """
        this = {"repository": repository, "this": digest}
        renewed = await self._connections.change(RENEW, this)
        self._by_digest.invalidate(repository, digest)
        if not renewed:
            await self._get(repository, digest)

    async def delete(
        self, repository: str, digest: str, condition: Condition | None = None, *, actor: str
    ) -> None:
        """Take it away with every tag that points at it, and all that is said of it.

        That are its signatures and the like: by `subject`, unless they have a tag of their own,
        and by cosign's tags. All can be restored for a while, and comes back together; a push of
        the manifest brings back it alone. Raises ManifestUnknown.

        Raises PreconditionFailed when the condition does not hold of what is there; TagImmutable
        when a rule keeps a tag of it, or of an image that it is a part of.
        """
        try:
            gone = await self._delete(repository, digest, condition, actor)
        except (PreconditionFailed, ReadOnly, TagImmutable):
            raise  # it is there
        except Refused:
            self._forget(repository, frozenset({digest}))
            raise
        self._forget(repository, gone)

    async def referrers(
        self,
        repository: str,
        subject: str,
        artifact_type: str | None,
        after: str,
        limit: int,
        annotation_bytes_max: int,
    ) -> list[ReferrerDescriptor]:
        """Return a page, by digest, of the manifests whose subject this is; [] when none.

        Stops early, but never before the first row, when the annotations of the page would pass
        `annotation_bytes_max` bytes (as JSON).
        """
        wanted: dict[str, object] = {"repository": repository, "subject": subject, "after": after}
        find, describe = REFERRERS, DESCRIBE
        if artifact_type is not None:
            wanted["artifact_type"] = artifact_type
            find, describe = REFERRERS_OF_TYPE, DESCRIBE_OF_TYPE
        found = await self._connections.rows(find, {**wanted, "limit": limit})
        fitting = _fitting([row.annotations_bytes for row in found], annotation_bytes_max)
        if fitting == 0:
            return []
        page = {**wanted, "limit": fitting, "last": found[fitting - 1].digest}
        return [_descriptor(row) for row in await self._connections.rows(describe, page)]

    async def list_tags(self, repository: str, after: str, limit: int) -> list[str]:
        """Return a page of tags in byte order; raises NameUnknown for an absent repository."""
        page = {"repository": repository, "after": after, "limit": limit}
        rows = await self._connections.rows(LIST_TAGS, page)
        if not rows:
            raise NameUnknown(f"no repository {repository}")
        return sorted(row.name for row in rows if row.name is not None)

    async def delete_tag(
        self, repository: str, tag: str, condition: Condition | None = None, *, actor: str
    ) -> None:
        """Remove the tag alone; raises ManifestUnknown.

        Raises PreconditionFailed when it is there and the condition does not hold of what it
        points at, at the moment of the write; TagImmutable when a rule keeps it.
        """
        try:
            await self._delete_tag(repository, tag, condition, actor)
        except (PreconditionFailed, ReadOnly, TagImmutable):
            raise  # it is there
        except Refused:
            self._by_tag.invalidate(repository, tag)
            raise
        self._by_tag.invalidate(repository, tag)

    def forget_repository(self, name: str) -> None:
        """Know nothing of what is in a repository."""
        self._by_digest.invalidate_all(name, lambda _: True)
        self._by_tag.invalidate_all(name, lambda _: True)

    async def _get(self, repository: str, digest: str) -> Manifest:
        row = await self._connections.row(GET, {"repository": repository, "digest": digest})
        if row is None:
            raise _unknown(repository, digest)
        return _manifest(row)

    async def _resolve(self, repository: str, tag: str) -> Manifest:
        row = await self._connections.row(RESOLVE, {"repository": repository, "tag": tag})
        if row is None:
            raise _unknown(repository, tag)
        return _manifest(row)

    async def _delete(
        self, repository: str, digest: str, condition: Condition | None, actor: str
    ) -> frozenset[str]:
        if condition is not None:
            found = await self._get(repository, digest)
            condition.check(found.digest)  # what it is called never changes: no race to lose

        def begin(connection: Connection) -> Deletion:
            check_writable(connection, repository)
            this = {"repository": repository, "digest": digest}
            row_id = connection.execute(HOLD, this).scalar_one_or_none()
            if row_id is None:
                raise _unknown(repository, digest)
            check_image_may_go(connection, row_id, repository, digest)
            stamp = connection.execute(NOW).scalar_one()
            return told(connection, delete_piece(connection, Deletion(row_id, digest, stamp)))

        def go_on(connection: Connection) -> Deletion:
            check_writable(connection, repository)
            return told(connection, delete_piece(connection, deletion))

        def told(connection: Connection, done: Deletion) -> Deletion:
            events = [
                Event(Kind.IMAGE_DELETED, actor, repository, digest=each) for each in done.marked
            ]
            record_all(connection, events)
            return done

        deletion = await self._connections.write(begin)
        gone = set(deletion.marked)
        while deletion.left:
            try:
                deletion = await self._connections.write(go_on)
            except ReadOnly:
                break  # the collection goes on with it, when it is over
            gone |= set(deletion.marked)
        return frozenset(gone)

    async def _delete_tag(
        self, repository: str, tag: str, condition: Condition | None, actor: str
    ) -> None:
        this = {"repository": repository, "tag": tag}

        def work(connection: Connection) -> bool:
            """Say whether it is done: the manifest is held before the tag, as everywhere."""
            check_writable(connection, repository)
            seen = connection.execute(POINTS_AT, this).one_or_none()
            if seen is not None:
                pointed_at = {"row_id": seen.repository_id, "digest": seen.digest}
                connection.execute(_HOLD_POINTED_AT, pointed_at)
            there = connection.execute(HOLD_TAG, this).one_or_none()
            if there is None:
                raise ManifestUnknown(f"no tag {tag} in {repository}")
            if seen is None or there.digest != seen.digest:
                return False  # it was moved between the two
            if condition is not None:
                condition.check(there.digest)
            check_tag_may_go(connection, there.repository_id, repository, tag)
            take_tag(connection, there.repository_id, tag)
            gone = Event(Kind.TAG_DELETED, actor, repository, reference=tag, digest=there.digest)
            record(connection, gone)
            return True

        for _ in range(_ATTEMPTS_MAX):
            if await self._connections.write(work):
                return
        raise DatabaseUnavailable(f"the tag {tag} is moved as fast as it is deleted; try again")

    def _forget(self, repository: str, gone: frozenset[str]) -> None:
        for digest in gone:
            self._by_digest.invalidate(repository, digest)
        self._by_tag.invalidate_all(repository, lambda manifest: manifest.digest in gone)


def _fitting(sizes: Sequence[int], bytes_max: int) -> int:
    """Return how many of the first sizes stay within `bytes_max` together, but at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > bytes_max:
            return count
    return len(sizes)


def _annotations(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])


def _manifest(row: Row[Any]) -> Manifest:
    return Manifest(
        digest=row.digest,
        media_type=row.media_type,
        payload=row.payload,
        subject=row.subject,
        artifact_type=row.artifact_type,
        annotations=_annotations(row.annotations),
        promised_until=row.promised_until,
    )


def _descriptor(row: Row[Any]) -> ReferrerDescriptor:
    return ReferrerDescriptor(
        digest=row.digest,
        media_type=row.media_type,
        size=row.size,
        artifact_type=row.artifact_type,
        annotations=_annotations(row.annotations),
    )


def _bytes_kept(manifest: Manifest) -> int:
    return len(manifest.payload)


def _unknown(repository: str, reference: str) -> ManifestUnknown:
    return ManifestUnknown(f"no manifest {reference} in {repository}")


def _bring_back(connection: Connection, row_id: int, pushed: Pushed, gone: set[str]) -> bool:
    """Have parts of an index be here again that went as nothing held them; say whether any is."""
    parts = gone - {pushed.manifest.subject}
    if not parts:
        return False
    since, until = connection.execute(_TIMES).one()
    back = unheld_back(connection, row_id, parts, (since, until))
    record_all(
        connection,
        [
            Event(Kind.IMAGE_RESTORED, pushed.actor, pushed.repository, digest=digest)
            for digest in back
        ],
    )
    return bool(back)
