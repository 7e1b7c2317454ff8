"""What happened, as rows: a write that people want to know of records it in its own transaction.

So a row is there exactly when the change is, and a write that changes nothing leaves none. Rows
have no order yet: `sequence` is given them once they are committed (`log`). Who
did it is an actor: a user's name, `anonymous`, `cli:USER@HOST` for a command on the database,
`server:ID` for what a server does by itself, `rule:NAME` for what a setting has it do.
"""

import itertools
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import Insert, Select, Text, bindparam, delete, insert, literal_column, select, true
from sqlalchemy.engine import Connection

from treescale.clock import SystemClock
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import client_of, note_recorded, request_of
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.schema import events, manifests, tags
from treescale.oci.names import namespace_of

ANONYMOUS: Final = "anonymous"
REQUEST_ID: Final = "request_id"
"""Where a row's payload has the client's request; what tells of several has the first of them."""
CHANCE_BYTES: Final = 10
_CLOCK: Final = SystemClock()
_COUNT: Final = itertools.count()
_COUNTED: Final = 2**12
_COUNT_BYTES: Final = 2
"""What leads the bytes of chance of an id: 12 bits that count (RFC 9562, section 6.2)."""


class Kind(StrEnum):
    """What may have happened."""

    IMAGE_PUSHED = "image.pushed"
    IMAGE_PULLED = "image.pulled"
    IMAGE_DELETED = "image.deleted"
    IMAGE_RESTORED = "image.restored"
    IMAGE_PURGED = "image.purged"
    UPLOAD_REFUSED = "upload.refused"
    REFERRER_ADDED = "referrer.added"
    TAG_MOVED = "tag.moved"
    TAG_DELETED = "tag.deleted"
    REPOSITORY_CREATED = "repository.created"
    REPOSITORY_DELETED = "repository.deleted"
    REPOSITORY_RESTORED = "repository.restored"
    REPOSITORY_MOVED = "repository.moved"
    REPOSITORY_PURGED = "repository.purged"
    REPOSITORY_VISIBILITY = "repository.visibility"
    REPOSITORY_READ_ONLY = "repository.read_only"
    NAMESPACE_READ_ONLY = "namespace.read_only"
    NAMESPACE_VISIBILITY = "namespace.visibility"
    REPOSITORY_DESCRIPTION = "repository.description"
    NAMESPACE_DESCRIPTION = "namespace.description"
    NAMESPACE_LIMITS = "namespace.limits"
    QUOTA_WARNED = "quota.warned"
    QUOTA_REACHED = "quota.reached"
    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_REMOVED = "organisation.removed"
    MEMBER_GRANTED = "member.granted"
    MEMBER_REVOKED = "member.revoked"
    CLUSTER_READ_ONLY = "cluster.read_only"
    CLUSTER_LIMITS = "cluster.limits"
    TOKEN_CREATED = "token.created"  # noqa: S105  a kind
    TOKEN_REVOKED = "token.revoked"  # noqa: S105  likewise
    ROBOT_CREATED = "robot.created"
    ROBOT_REMOVED = "robot.removed"
    ROBOT_ROTATED = "robot.rotated"
    ROBOT_TRUSTED = "robot.trusted"
    ROBOT_DISTRUSTED = "robot.distrusted"
    ROBOT_EXCHANGED = "robot.exchanged"
    ISSUER_ADDED = "issuer.added"
    ISSUER_REMOVED = "issuer.removed"
    USER_CREATED = "user.created"
    USER_REMOVED = "user.removed"
    USER_PASSWORD = "user.password"  # noqa: S105  likewise
    USER_SUSPENDED = "user.suspended"
    USER_RESUMED = "user.resumed"
    USER_ADMIN = "user.admin"
    USER_INVITED = "user.invited"
    USER_UNINVITED = "user.uninvited"
    USER_RESET = "user.reset"
    USER_SESSIONS = "user.sessions"
    SIGN_ON_ADDED = "sign_on.added"
    SIGN_ON_REMOVED = "sign_on.removed"
    SIGN_ON_LINKED = "sign_on.linked"
    SIGN_ON_UNLINKED = "sign_on.unlinked"
    SERVER_REGISTERED = "server.registered"
    SERVER_FORGOTTEN = "server.forgotten"
    SERVER_DOWN = "server.down"
    SERVER_UP = "server.up"
    STORE_STATE = "store.state"
    STORE_SUSPECT = "store.suspect"
    STORE_BACK = "store.back"
    CHUNK_LOST = "chunk.lost"
    CHUNK_HEALED = "chunk.healed"
    LAYOUT_CHANGED = "layout.changed"
    REPAIR_FINISHED = "repair.finished"
    COLLECT_FINISHED = "collect.finished"
    BACKUP_MADE = "backup.made"
    HOOK_ADDED = "hook.added"
    HOOK_REMOVED = "hook.removed"
    HOOK_ENABLED = "hook.enabled"
    HOOK_DISABLED = "hook.disabled"
    HOOK_ROTATED = "hook.rotated"
    RULE_ADDED = "rule.added"
    RULE_REMOVED = "rule.removed"
    RULES_CONFIRMED = "rule.confirmed"
    RETENTION_RAN = "retention.ran"
    SETTING_CHANGED = "setting.changed"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_REFUSED = "login.refused"


UNAUDITED: Final = frozenset(
    {
        Kind.IMAGE_PULLED,
        Kind.SERVER_DOWN,
        Kind.SERVER_UP,
        Kind.STORE_SUSPECT,
        Kind.STORE_BACK,
        Kind.CHUNK_LOST,
        Kind.CHUNK_HEALED,
    }
)
"""What nobody does to anything: not for the audit log, and gone when it leaves the log of events.

All other kinds are audited, also those that later versions have."""


def uuid7(seconds: float, chance: bytes) -> str:
    """Return a UUID of version 7 (RFC 9562, section 5.7): 48 bits of time, then 74 of chance.

    `seconds` since 1970, `chance` ten bytes. As text they sort by their milliseconds.
    """
    number = int(seconds * 1000) << 80 | int.from_bytes(chance, "big")
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _new_id() -> str:
    """Return an id; of one process those of a millisecond sort as they were made."""
    count = (next(_COUNT) % _COUNTED).to_bytes(_COUNT_BYTES, "big")
    return uuid7(_CLOCK.now(), count + secrets.token_bytes(CHANCE_BYTES - _COUNT_BYTES))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; what has no column is in the payload, which is small."""

    kind: Kind
    actor: str
    repository: str | None = None
    namespace: str | None = None
    """Of the repository, unless told."""
    reference: str | None = None
    """The tag."""
    digest: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict)
    address: str = ""
    """Of a client: the one whose request the transaction is of, unless told."""
    event_id: str = field(default_factory=_new_id)


def actor_of(user: str) -> str:
    """Return who a user of the API is, "" being anonymous."""
    return user or ANONYMOUS


def actor_of_server(server_id: str) -> str:
    """Return who a server is when it does something by itself."""
    return f"server:{server_id}"


_RECORD: Final = insert(events).values(at=DatabaseNow())
_RECORD_ONCE: Final = ahead(
    insert_or_ignore(events, computed={"at": DatabaseNow()}),
    "actor address digest event_id kind namespace payload reference repository",
)
_TAKE_BACK: Final = delete(events).where(events.c.event_id == bindparam("this"))
# What is there is held until it is written over, as strongly as the write itself will hold it.
HOLD_TAG: Final = (
    select(tags.c.digest)
    .where(tags.c.repository_id == bindparam("row_id"), tags.c.name == bindparam("reference"))
    .with_for_update(key_share=True)
)
HOLD_MANIFEST: Final = (
    select(manifests.c.digest)
    .where(
        manifests.c.repository_id == bindparam("row_id"),
        manifests.c.digest == bindparam("digest"),
        manifests.c.deleted.is_(None),
    )
    .with_for_update(key_share=True)
)
_GIVEN: Final = ("event_id", "kind", "namespace", "repository", "reference", "digest")


def _record_unless_same(hold: Select[tuple[str]]) -> Insert:
    """Return what records an event with the digest that was there, unless it is the event's."""
    there = hold.cte("there")
    given = [*_GIVEN, "actor", "payload", "address"]
    rows = (
        select(
            *(bindparam(name, type_=Text()) for name in given),
            there.c.digest,
            DatabaseNow(),
        )
        .select_from(select(literal_column("1")).subquery("one").outerjoin(there, true()))
        .where(there.c.digest.is_distinct_from(bindparam("digest", type_=Text())))
    )
    return (
        insert(events)
        .from_select([*given, "previous_digest", "at"], rows)
        .returning(events.c.previous_digest)
    )


_RECORD_TAGGED: Final = ahead(
    _record_unless_same(HOLD_TAG),
    "actor address digest event_id kind namespace payload reference repository row_id",
)
_RECORD_NEW: Final = _record_unless_same(HOLD_MANIFEST)


def record(connection: Connection, event: Event) -> None:
    """Record the event in the transaction that made it happen."""
    connection.execute(_RECORD, _row(connection, event))
    note_recorded(connection)


def record_all(connection: Connection, happened: Iterable[Event]) -> None:
    """Record several events, as `record` does each."""
    rows = [_row(connection, event) for event in happened]
    if rows:
        connection.execute(_RECORD, rows)
        note_recorded(connection)


def record_once(connection: Connection, event: Event) -> None:
    """Record an event unless one of its id is there: several may tell of it."""
    if connection.execute(_RECORD_ONCE.on(connection), _row(connection, event)).rowcount == 1:
        note_recorded(connection)


def record_tagged(connection: Connection, event: Event, row_id: int) -> str | None:
    """Record that the event's tag is about to point at its digest, unless it does so already.

    Returns the digest it points at until now, None when there is no such tag. It is the previous
    one of the event. One statement: the tag is held, if there is one.
    """
    return _recorded(connection, _RECORD_TAGGED, event, row_id)


def record_new(connection: Connection, event: Event, row_id: int) -> str | None:
    """Record that the event's digest is about to become a manifest, unless it is one already.

    Returns the digest if it is, and the manifest is held; else None.
    """
    return _recorded(connection, _RECORD_NEW, event, row_id)


def take_back(connection: Connection, recorded: Iterable[Event]) -> None:
    """Strike out what was recorded in this transaction, and did not happen as it says."""
    for event in recorded:
        connection.execute(_TAKE_BACK, {"this": event.event_id})


def _recorded(connection: Connection, statement: Insert, event: Event, row_id: int) -> str | None:
    row = connection.execute(statement, {**_row(connection, event), "row_id": row_id}).one_or_none()
    if row is None:
        return event.digest
    note_recorded(connection)
    previous: str | None = row.previous_digest
    return previous


def _row(connection: Connection, event: Event) -> dict[str, Any]:
    namespace, payload = event.namespace, event.payload
    if request_id := request_of(connection):
        payload = {**payload, REQUEST_ID: request_id}
    if namespace is None and event.repository is not None:
        namespace = namespace_of(event.repository)
    return {
        "event_id": event.event_id,
        "kind": event.kind.value,
        "namespace": namespace,
        "repository": event.repository,
        "reference": event.reference,
        "digest": event.digest,
        "actor": event.actor,
        "address": event.address or client_of(connection) or None,
        "payload": msgspec.json.encode(payload).decode(),
    }
