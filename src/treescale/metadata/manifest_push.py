"""What manifests write, inside a transaction: pushed, what they need is held; deleted, put aside.

Conditions are looked at where the row is written, so nobody comes between the look and the write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import msgspec
from sqlalchemy import (
    BindParameter,
    Double,
    Executable,
    Select,
    bindparam,
    delete,
    exists,
    not_,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import DatabaseUnavailable, ManifestBlobUnknown
from treescale.lease_times import LINK_LEASES
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import changed
from treescale.metadata.engine.upserts import (
    Insert,
    Upsert,
    insert_or_ignore,
    insert_or_update,
    insert_or_update_if,
)
from treescale.metadata.events.recording import Event, Kind, record_new, record_tagged, take_back
from treescale.metadata.layouts import lease_seconds
from treescale.metadata.records import Manifest, WrongSize
from treescale.metadata.rules.immutable import ANY_IMMUTABLE, check_may_move
from treescale.metadata.schema import (
    blobs,
    deleted_tags,
    manifest_references,
    manifests,
    repository_blobs,
    tags,
)
from treescale.oci.conditions import Condition
from treescale.oci.manifests import Reference, ReferenceKind
from treescale.oci.versions import version_key

DIGESTS_MAX: Final = 500
"""Digests looked up, and rows written, in one statement."""

# Found rows are held, in digest order, until the manifest that needs them is written.
_WANTED: Final[BindParameter[str]] = bindparam("digests", expanding=True)
# The blob's size stands before its payload, so no other page of its row is read.
HOLD_BLOBS: Final = (
    select(repository_blobs.c.digest, blobs.c.size)
    .select_from(repository_blobs.join(blobs))
    .where(
        repository_blobs.c.repository_id == bindparam("row_id"),
        repository_blobs.c.digest.in_(_WANTED),
        repository_blobs.c.hidden.is_(None),
    )
    .order_by(repository_blobs.c.digest)
    .with_for_update(read=True, key_share=True, of=repository_blobs)
)
FIND_LOST: Final = (
    select(repository_blobs.c.digest, blobs.c.size)
    .select_from(repository_blobs.join(blobs))
    .where(
        repository_blobs.c.repository_id == bindparam("row_id"),
        repository_blobs.c.digest.in_(_WANTED),
        blobs.c.lost_since.is_not(None),
    )
)
HOLD_MANIFESTS: Final = (
    select(manifests.c.digest, manifests.c.size)
    .where(
        manifests.c.repository_id == bindparam("row_id"),
        manifests.c.digest.in_(_WANTED),
        manifests.c.deleted.is_(None),
    )
    .order_by(manifests.c.digest)
    .with_for_update(read=True, key_share=True)
)
# Also one that is deleted: it is there again.
_COLUMNS: Final = (
    "media_type",
    "subject",
    "artifact_type",
    "annotations_bytes",
    "annotations",
    "deleted",
    "pushed_by",
    "untagged_since",
)
_PUSHED: Final = {
    "pushed": DatabaseNow(),
    "lease_until": DatabaseNow() + LINK_LEASES * lease_seconds(),
}
_WRITE: Final = ahead(
    insert_or_update_if(manifests, _COLUMNS, _PUSHED, lambda _: true()),
    "annotations annotations_bytes artifact_type deleted digest media_type payload "
    "pushed_by repository_id size subject untagged_since",
)
_REFER: Final = ahead(
    insert_or_ignore(manifest_references), "digest kind manifest repository_id", many=True
)
_TAG_COLUMNS: Final = ("digest", "updated", "pushed_by")
_TAG: Final = insert_or_update(tags, _TAG_COLUMNS)
# No statement more where no rule is: of one that there is the text is looked at then.
TAG_UNLESS_IMMUTABLE: Final = insert_or_update_if(
    tags, _TAG_COLUMNS, {}, lambda new: or_(tags.c.digest == new.digest, not_(ANY_IMMUTABLE))
)
# Where there was none: of several writers one inserts it.
_NEW: Final = insert_or_update_if(
    manifests, _COLUMNS, _PUSHED, lambda _: manifests.c.deleted.is_not(None)
)
# What it refers to is held by it from now on: when that ends its time begins anew.
_HOLDS: Final = (
    update(manifests)
    .where(
        manifests.c.repository_id == bindparam("row_id"),
        manifests.c.digest.in_(_WANTED),
        manifests.c.untagged_since.is_not(None),
    )
    .values(untagged_since=null())
)
NEW_TAG: Final = insert_or_ignore(tags)
_ATTEMPTS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is recorded of a manifest that is put."""

    repository: str
    manifest: Manifest
    actor: str
    payload: Mapping[str, object]
    tagged: Kind = Kind.IMAGE_PUSHED
    """What is recorded of each of its tags."""

    def events(self, tags: Sequence[str]) -> tuple[Event, ...]:
        """Return what has happened if the manifest was not there before."""
        pushed = () if tags else (self.event(Kind.IMAGE_PUSHED),)
        if self.manifest.subject is None:
            return pushed
        return (self.event(Kind.REFERRER_ADDED), *pushed)

    def event(self, kind: Kind, tag: str | None = None) -> Event:
        """Return one event."""
        return Event(
            kind,
            self.actor,
            self.repository,
            reference=tag,
            digest=self.manifest.digest,
            payload=self.payload,
        )


def write_manifest(
    connection: Connection,
    row: dict[str, object],
    new: Sequence[Event],
    condition: Condition | None,
) -> None:
    """Write the manifest, if the condition holds of what is there; record what it is if new."""
    if not new:
        assert condition is None, "it is then a condition of the tags"
        connection.execute(_WRITE.on(connection), row)
        return
    row_id = cast("int", row["repository_id"])

    def look() -> str | None:
        found = [record_new(connection, event, row_id) for event in new]
        return found[0]

    def overwrite(_: str) -> None:
        connection.execute(_WRITE.on(connection), row)

    _write(connection, look, (_NEW, overwrite), row, new, condition)


def write_tags(
    connection: Connection,
    pushed: Pushed,
    row_id: int,
    tags: Iterable[str],
    *,
    now: float,
    condition: Condition | None,
) -> bool:
    """Point each tag at the manifest, if the condition holds of it; return whether any is new."""
    any_new = False
    # In one order everywhere, so that two pushes never wait for each other.
    for tag in sorted(set(tags)):
        target = {
            "repository_id": row_id,
            "name": tag,
            "digest": pushed.manifest.digest,
            "updated": now,
            "pushed_by": pushed.actor,
            "version_key": version_key(tag),
        }
        event = pushed.event(pushed.tagged, tag)
        any_new |= _write_tag(connection, target, event, condition)
    return any_new


def _write_tag(
    connection: Connection,
    row: dict[str, object],
    event: Event,
    condition: Condition | None,
) -> bool:
    """Point the tag at the event's manifest, if the condition holds of what it points at.

    Return whether there was no such tag. Raises TagImmutable when it points at another one, and a
    rule has it stay so.
    """
    row_id = cast("int", row["repository_id"])

    def look() -> str | None:
        return record_tagged(connection, event, row_id)

    def overwrite(there: str) -> None:
        if not changed(connection, TAG_UNLESS_IMMUTABLE.on(connection), row | {"row_id": row_id}):
            repository, tag = cast("str", event.repository), cast("str", event.reference)
            check_may_move(connection, row_id, repository, tag, there)
            connection.execute(_TAG.on(connection), row)

    return _write(connection, look, (NEW_TAG, overwrite), row, (event,), condition)


def _write(
    connection: Connection,
    look: Callable[[], str | None],
    writes: tuple[Upsert, Callable[[str], None]],
    row: dict[str, object],
    recorded: Sequence[Event],
    condition: Condition | None,
) -> bool:
    """Write a row, if the condition holds of what is there, which `look` tells and records.

    Return whether there was none.

    What is there cannot change between the look and the write: a row is held, and where there is
    none only one of several writers can insert it (the first of `writes`). So what is recorded as
    there before is what was written over.
    """
    insert, overwrite = writes
    for _ in range(_ATTEMPTS_MAX):
        there = look()
        if condition is not None:
            condition.check(there)
        if there is not None:
            overwrite(there)
            return False
        if changed(connection, insert.on(connection), row):
            return True
        take_back(connection, recorded)
    raise DatabaseUnavailable("what was to be written comes and goes; try again")


def hold_references(
    connection: Connection,
    repository_id: int,
    references: Sequence[Reference],
    bring_back: Callable[[set[str]], bool] = lambda _: False,
) -> tuple[WrongSize, ...]:
    """Hold everything the manifest refers to that is here; raise when a required one is not.

    Either kind meets either need: BuildKit's cache indexes name blobs as if they were manifests.
    Returns which are of another size than is said. `bring_back` is told of manifests that are not
    here, and says whether any of them is now.
    """
    digests = {reference.digest for reference in references}
    found = _held(connection, HOLD_BLOBS, repository_id, digests)
    named = {each.digest for each in references if each.kind is ReferenceKind.MANIFEST}
    # An image's layers and config are all blobs: it does not ask for manifests at all.
    missing = named | (digests - found.keys())
    found |= _held(connection, HOLD_MANIFESTS, repository_id, missing)
    if (gone := named - found.keys()) and bring_back(gone):
        found |= _held(connection, HOLD_MANIFESTS, repository_id, gone)
    for reference in references:
        if reference.required and reference.digest not in found:
            raise ManifestBlobUnknown(
                f"{reference.kind} {reference.digest} is not in this repository: push it first"
            )
    return tuple(
        WrongSize(each.digest, each.size, found[each.digest])
        for each in references
        if each.size is not None and found.get(each.digest, each.size) != each.size
    )


def check_whole(
    connection: Connection, repository_id: int, references: Iterable[Reference]
) -> None:
    """Raise ManifestBlobUnknown when a blob that is needed has lost bytes: nobody could pull it."""
    needed = {reference.digest for reference in references if reference.required}
    lost = _held(connection, FIND_LOST, repository_id, needed)
    if lost:
        raise ManifestBlobUnknown(
            f"{len(lost)} blobs of this manifest are lost: no store has all of their bytes. "
            f"Push them again, the first of them {min(lost)}"
        )


def _held(
    connection: Connection, hold: Select[Any], repository_id: int, digests: set[str]
) -> dict[str, int]:
    """Hold which of the digests `hold` finds, in one order everywhere; return their sizes."""
    ordered, found = sorted(digests), dict[str, int]()
    for start in range(0, len(ordered), DIGESTS_MAX):
        page = {"row_id": repository_id, "digests": ordered[start : start + DIGESTS_MAX]}
        found.update((row.digest, row.size) for row in connection.execute(hold, page))
    return found


def refer(
    connection: Connection,
    repository_id: int,
    manifest: str,
    references: Iterable[Reference],
) -> None:
    """Write down what the manifest refers to."""
    kinds = {reference.digest: str(reference.kind) for reference in references}
    rows = [
        {"repository_id": repository_id, "manifest": manifest, "digest": digest, "kind": kind}
        for digest, kind in sorted(kinds.items())
    ]
    for start in range(0, len(rows), DIGESTS_MAX):
        connection.execute(_REFER.on(connection), rows[start : start + DIGESTS_MAX])
    children = [digest for digest, kind in sorted(kinds.items()) if kind == ReferenceKind.MANIFEST]
    for start in range(0, len(children), DIGESTS_MAX):
        page = {"row_id": repository_id, "digests": children[start : start + DIGESTS_MAX]}
        connection.execute(_HOLDS, page)


def manifest_row(repository_id: int, manifest: Manifest, *, actor: str) -> dict[str, object]:
    """Return the row of the manifest in that repository, but for times: they are the database's."""
    annotations = msgspec.json.encode(manifest.annotations)
    return {
        "repository_id": repository_id,
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "size": len(manifest.payload),
        "subject": manifest.subject,
        "artifact_type": manifest.artifact_type,
        "annotations_bytes": len(annotations) if manifest.annotations else 0,
        "annotations": annotations.decode(),
        "payload": manifest.payload,
        "deleted": None,
        "pushed_by": actor,
        "untagged_since": None,
    }


# A deleted manifest keeps its row and its references, so it holds its blobs; its tags go aside,
# each with the last time that it was taken away. What goes together has the same time, and comes
# back together.
COSIGN_SUFFIXES: Final = (".sig", ".att", ".sbom")
_DIGESTS_AT_ONCE: Final = 500
_SUBJECTS_AT_ONCE: Final = 100
_LOOKS_AT_ONCE: Final = 5
"""Most have nothing said of them: looking costs as well."""

_HERE: Final = manifests.c.repository_id == bindparam("row_id")
NOW: Final = select(DatabaseNow())
_HOLD_LIVE: Final = (
    select(manifests.c.digest)
    .where(_HERE, manifests.c.digest.in_(_WANTED), manifests.c.deleted.is_(None))
    .order_by(manifests.c.digest)
    .with_for_update()
)
_MARK: Final = (
    update(manifests)
    .where(_HERE, manifests.c.digest.in_(_WANTED))
    .values(deleted=bindparam("stamp", type_=Double()))
)
UNFINISHED: Final = -1.0
"""The `lease_until` of a deleted manifest while more of what is said of it is to go."""
_THESE_DELETED: Final = (_HERE, manifests.c.digest.in_(_WANTED), manifests.c.deleted.is_not(None))
_BEGIN: Final = update(manifests).where(*_THESE_DELETED).values(lease_until=UNFINISHED)
_FINISH: Final = (
    update(manifests)
    .where(*_THESE_DELETED, manifests.c.lease_until == UNFINISHED)
    .values(lease_until=null())
)
HAS_TAG: Final = exists().where(
    tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest
)
_PARENT: Final = manifests.alias("parent")
HAS_PARENT: Final = exists().where(
    manifest_references.c.repository_id == manifests.c.repository_id,
    manifest_references.c.digest == manifests.c.digest,
    _PARENT.c.repository_id == manifest_references.c.repository_id,
    _PARENT.c.digest == manifest_references.c.manifest,
    _PARENT.c.deleted.is_(None),
    or_(_PARENT.c.subject.is_(None), _PARENT.c.subject != manifest_references.c.digest),
)
_THESE: Final[BindParameter[str]] = bindparam("these", expanding=True)
_SAID: Final = select(manifests.c.digest).where(
    _HERE,
    manifests.c.subject.in_(_WANTED),
    manifests.c.deleted.is_(None),
    ~HAS_TAG,
    ~HAS_PARENT,
)
_SAID_OF: Final = _SAID.limit(_DIGESTS_AT_ONCE)
_STILL_SAID: Final = _SAID.where(manifests.c.digest.in_(_THESE))
# Who restores it holds it: then no more goes with it.
_HOLD_IF_DELETED: Final = (
    select(manifests.c.digest)
    .where(
        _HERE,
        manifests.c.digest == bindparam("digest"),
        manifests.c.deleted == bindparam("stamp", type_=Double()),
    )
    .with_for_update(read=True, key_share=True)
)
_OTHER_TAG: Final = tags.alias("other")
_NAMES: Final[BindParameter[str]] = bindparam("names", expanding=True)
_TAGGED_FOR: Final = (
    select(tags.c.digest)
    .select_from(tags.join(manifests))
    .where(
        tags.c.repository_id == bindparam("row_id"),
        tags.c.name.in_(_NAMES),
        ~exists().where(  # it is said of another image, too
            _OTHER_TAG.c.repository_id == tags.c.repository_id,
            _OTHER_TAG.c.digest == tags.c.digest,
            _OTHER_TAG.c.name.not_in(_NAMES),
        ),
        ~HAS_PARENT,
    )
)
_STILL_TAGGED: Final = _TAGGED_FOR.where(tags.c.digest.in_(_THESE))
_TAGS_OF: Final = (tags.c.repository_id == bindparam("row_id"), tags.c.digest.in_(_WANTED))
_ONE_TAG: Final = (tags.c.repository_id == bindparam("row_id"), tags.c.name == bindparam("tag"))
_HOLD_TAGS: Final = select(tags.c.name).where(*_TAGS_OF).order_by(tags.c.name).with_for_update()
_DROP_TAGS: Final = delete(tags).where(*_TAGS_OF)
_DROP_TAG: Final = delete(tags).where(*_ONE_TAG)


def _set_aside(*which: Any) -> Upsert:
    """Return what keeps tags as deleted ones."""
    names = ["repository_id", "name", "digest", "updated", "pushed_by", "deleted"]
    rows = select(
        tags.c.repository_id,
        tags.c.name,
        tags.c.digest,
        tags.c.updated,
        tags.c.pushed_by,
        bindparam("stamp", type_=Double()),
    ).where(*which)
    keys = ["repository_id", "name", "digest"]

    def make(insert: Insert) -> Executable:
        new = insert(deleted_tags).from_select(names, rows)
        written = {name: new.excluded[name] for name in ("updated", "pushed_by", "deleted")}
        return new.on_conflict_do_update(index_elements=keys, set_=written)

    return Upsert(make)


_KEEP_TAGS: Final = _set_aside(*_TAGS_OF)
_KEEP_TAG: Final = _set_aside(*_ONE_TAG)


def take_tag(connection: Connection, row_id: int, tag: str) -> None:
    """Set a tag aside that the transaction holds."""
    stamp = connection.execute(NOW).scalar_one()
    this = {"row_id": row_id, "tag": tag}
    connection.execute(_KEEP_TAG.on(connection), {**this, "stamp": stamp})
    connection.execute(_DROP_TAG, this)


@dataclass(frozen=True, slots=True)
class Deletion:
    """How far a manifest is deleted: it, and what is said of it, which may be very much.

    Each piece is a transaction of a bounded size. The first has the manifest itself.
    """

    row_id: int
    digest: str
    stamp: float
    """What has one comes back together."""
    left: tuple[str, ...] = ()
    """What is said of these goes as well."""
    marked: tuple[str, ...] = ()
    """By the piece that was done last."""


def delete_piece(connection: Connection, done: Deletion) -> Deletion:
    """Go on until some hundred are marked, or all; return how far it is."""
    marked: set[str] = set()
    left = list(done.left)
    if done.marked or done.left:
        of = {"row_id": done.row_id, "digest": done.digest, "stamp": done.stamp}
        if connection.execute(_HOLD_IF_DELETED, of).one_or_none() is None:
            return replace(done, left=(), marked=())  # it was restored, with all that had gone
    else:
        marked = _mark(connection, done.row_id, {done.digest}, done.stamp)
        left = sorted(marked)
    for _ in range(_LOOKS_AT_ONCE):
        if not left or len(marked) >= _DIGESTS_AT_ONCE:
            break
        subjects = left[:_SUBJECTS_AT_ONCE]
        found, is_all = _said_of(connection, done.row_id, subjects)
        new = _still_said_of(connection, done.row_id, subjects, found - marked)
        also = _mark(connection, done.row_id, new, done.stamp)
        left = (left[len(subjects) :] if is_all or not also else left) + sorted(also)
        marked |= also
    # Should nobody go on with them, the slow pass does.
    for statement, digests in (_BEGIN, left), (_FINISH, set(done.left).difference(left)):
        for page in _pages(digests):
            connection.execute(statement, {"row_id": done.row_id, "digests": page})
    return replace(done, left=tuple(left), marked=tuple(sorted(marked)))


def delete_with_all_said_of_it(
    connection: Connection, row_id: int, *digests: str, stamp: float | None = None
) -> frozenset[str]:
    """Mark manifests that the transaction holds, and what is said of them; return all digests."""
    if stamp is None:
        stamp = connection.execute(NOW).scalar_one()
    gone: set[str] = set()
    for digest in digests:
        done = delete_piece(connection, Deletion(row_id, digest, stamp))
        gone |= set(done.marked)
        while done.left:
            done = delete_piece(connection, done)
            gone |= set(done.marked)
    return frozenset(gone)


def _mark(connection: Connection, row_id: int, digests: Iterable[str], stamp: float) -> set[str]:
    """Mark those of them that are there, and set their tags aside; return which."""
    held = _held_live(connection, row_id, digests)
    for page in _pages(held):
        this = {"row_id": row_id, "digests": page}
        connection.execute(_HOLD_TAGS, this)
        connection.execute(_KEEP_TAGS.on(connection), {**this, "stamp": stamp})
        connection.execute(_DROP_TAGS, this)
        connection.execute(_MARK, {**this, "stamp": stamp})
    return held


def _held_live(connection: Connection, row_id: int, digests: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for page in _pages(digests):
        found |= set(connection.execute(_HOLD_LIVE, {"row_id": row_id, "digests": page}).scalars())
    return found


def _said_of(connection: Connection, row_id: int, subjects: Sequence[str]) -> tuple[set[str], bool]:
    """Return what has one of these as its subject, or a tag of cosign's for it; whether all."""
    this = {"row_id": row_id, "digests": subjects}
    referring = set(connection.execute(_SAID_OF, this).scalars())
    wanted = {"row_id": row_id, "names": cosign_tags_of(subjects)}
    tagged = connection.execute(_TAGGED_FOR, wanted).scalars()
    return referring | set(tagged), len(referring) < _DIGESTS_AT_ONCE


def _still_said_of(
    connection: Connection, row_id: int, subjects: Sequence[str], found: set[str]
) -> set[str]:
    """Hold these; return which nothing else holds even so: whoever gave one a tag has done so."""
    still = set[str]()
    for page in _pages(_held_live(connection, row_id, found)):
        this = {"row_id": row_id, "digests": subjects, "these": page}
        still |= set(connection.execute(_STILL_SAID, this).scalars())
        wanted = {"row_id": row_id, "names": cosign_tags_of(subjects), "these": page}
        still |= set(connection.execute(_STILL_TAGGED, wanted).scalars())
    return still


def cosign_tags_of(subjects: Iterable[str]) -> list[str]:
    """Return the tags of cosign's that say something of these."""
    return [each.replace(":", "-", 1) + suffix for each in subjects for suffix in COSIGN_SUFFIXES]


def _pages(digests: Iterable[str]) -> list[list[str]]:
    ordered = sorted(digests)
    return [
        ordered[start : start + _DIGESTS_AT_ONCE]
        for start in range(0, len(ordered), _DIGESTS_AT_ONCE)
    ]
